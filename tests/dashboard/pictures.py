"""Takes the README's pictures again, in a real Chromium: `make pictures`.

The apps are the made-up ones of the pages' tests, so that they show something of everything.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from jobs.processes.runtime import open_runtime
from jobs.settings import Settings
from jobs.storage.models import Vitals
from tests.browser import chromium
from tests.dashboard.scene import Scene, set_scene
from tests.dashboard.site import Door, make_site, serving

DESK, PHONE = (1280, 800), (360, 740)
SETTLED_MS = 700
GB = 10**9


def take_all(folder: Path) -> None:
    """Take each picture, over the one that is there."""
    with tempfile.TemporaryDirectory(prefix="keystone-pictures-") as name:
        settings = Settings(data_dir=Path(name), public_url="https://deploy.example")
        runtime = open_runtime(settings)
        with runtime.database.writing() as session:
            scene = set_scene(session, settings.logs_dir)
            session.merge(Vitals(workers=2, disk_free=41 * GB, disk_total=100 * GB, problems={}))
        with serving(make_site(runtime.database, settings, Door())) as site, chromium() as browser:
            for picture, path, size, scheme in _wanted(scene):
                _take(browser, f"{site}{path}", folder / f"{picture}.png", size, scheme)
        runtime.database.close()


def _wanted(scene: Scene) -> list[tuple[str, str, tuple[int, int], str]]:
    return [
        ("overview", "/", DESK, "light"),
        ("app", "/apps/shop", DESK, "dark"),
        ("deployment", f"/deployments/{scene.failed}", DESK, "dark"),
        ("phone", "/", PHONE, "light"),
    ]


def _take(browser: Browser, address: str, file: Path, size: tuple[int, int], scheme: str) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        timezone_id="UTC",
    )
    tab = context.new_page()
    tab.goto(address)
    tab.wait_for_timeout(SETTLED_MS)
    tab.screenshot(path=file)
    context.close()


if __name__ == "__main__":
    take_all(Path(sys.argv[1]))
