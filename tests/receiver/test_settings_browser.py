"""The forms of the settings pages in a real Chromium, before the real receiver."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from receiver.app import create_app
from tests.browser import chromium, complaints_of, overflow_of
from tests.builders import WebRuntime, cookie_name, make_session
from tests.receiver.live import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def phone(browser: Browser, runtime: WebRuntime) -> Iterator[Page]:
    """A tab as wide as a small phone, of an admin who is logged in."""
    with serving(create_app(runtime)) as port:
        address = f"http://127.0.0.1:{port}"
        context = browser.new_context(base_url=address, viewport={"width": 360, "height": 740})
        cookie = make_session(runtime).cookie.get_secret_value()
        context.add_cookies([{"name": cookie_name(runtime), "value": cookie, "url": address}])
        yield context.new_page()
        context.close()


def test_an_app_is_added_wrongly_mended_and_its_secret_seen_once(phone: Page) -> None:
    heard = complaints_of(phone)
    phone.goto("/apps/new")
    name, memory = (
        phone.get_by_label("Name", exact=True),
        phone.get_by_label("Memory (MB)", exact=True),
    )
    token = phone.get_by_label("Token", exact=True)
    name.fill("Shop!")
    phone.get_by_label("Repository", exact=True).fill("octo/shop")
    token.fill("planted-token")
    phone.get_by_text("Everything else").click()
    memory.fill("1")
    phone.get_by_role("button", name="Add the app").click()
    expect(phone.get_by_role("alert")).to_contain_text("Nothing was changed")
    expect(phone.locator("#app-name-problem")).to_contain_text("Use 1 to 63 lower-case letters")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_value("Shop!")
    expect(memory).to_have_value("1")
    expect(token).to_have_value("")
    assert overflow_of(phone) <= 0
    name.fill("shop")
    memory.fill("256")
    phone.get_by_role("button", name="Add the app").click()
    ensure_seen_once(phone)
    assert [words for words in heard if "400" not in words] == []


def ensure_seen_once(phone: Page) -> None:
    """Read the secret where it is shown, and see that no other page has it."""
    expect(phone.get_by_role("heading", level=1)).to_have_text("shop is added")
    secret = phone.get_by_label("Secret", exact=True).inner_text()
    assert len(secret) >= 20
    assert overflow_of(phone) <= 0
    phone.get_by_role("link", name="To shop").click()
    phone.get_by_role("link", name="Settings", exact=True).click()
    expect(phone.get_by_label("Memory (MB)", exact=True)).to_have_value("256")
    phone.get_by_role("link", name="Repository", exact=True).click()
    expect(phone.get_by_role("heading", name="New webhook secret")).to_be_visible()
    assert secret not in phone.content()
