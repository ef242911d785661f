"""A real Chromium for tests, one for a whole test session."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
# What is expected of a page comes at once, or late on a busy machine; 5 s are its own default.
SEEN_WITHIN_MS = 60_000
LOOK_MS = 50
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser and stop it again.

    Raises:
        RuntimeError: it is not installed; the message says how to install it.
    """
    if not CHROMIUM.exists():
        raise RuntimeError(f"{CHROMIUM} is missing; `apt-get install chromium` brings it")
    expect.set_options(timeout=SEEN_WITHIN_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=list(ARGUMENTS), timeout=60_000
        )
        try:
            yield browser
        finally:
            browser.close()


def complaints_of(page: Page) -> list[str]:
    """Give a list that fills with whatever the page's console or scripts complain about."""
    heard: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            heard.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: heard.append(str(error)))
    return heard


def overflow_of(page: Page) -> int:
    """Give by how many pixels the page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return found


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait for something outside the page, which goes on meanwhile.

    Raises:
        TimeoutError: it does not come.
    """
    for _ in range(SEEN_WITHIN_MS // LOOK_MS):
        if holds():
            return
        page.wait_for_timeout(LOOK_MS)
    raise TimeoutError
