"""What the tests of the pages stand on: a real database, and the pages over HTTP."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from starlette.testclient import TestClient

from jobs.settings import Settings
from jobs.storage.database import Database
from tests.browser import chromium
from tests.dashboard.scene import Scene, set_scene
from tests.dashboard.site import Door, make_site, serving


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What the pages may know: no secret at all."""
    return Settings(data_dir=tmp_path, public_url="https://deploy.example")


@pytest.fixture
def database(settings: Settings, empty_database: Path) -> Iterator[Database]:
    """An empty database of the test's own."""
    shutil.copy(empty_database, settings.data_dir / "keystone.db")
    database = Database(settings.effective_database_url)
    yield database
    database.close()


@pytest.fixture
def scene(database: Database, settings: Settings) -> Scene:
    """Six apps in different states, with their histories and logs."""
    with database.writing() as session:
        return set_scene(session, settings.logs_dir)


@pytest.fixture
def door() -> Door:
    """The knobs of the played receiver."""
    return Door()


@pytest.fixture
def client(database: Database, settings: Settings, door: Door) -> TestClient:
    """A visitor's HTTP client: it follows no redirect, and a crash is a 500 as for anybody."""
    return TestClient(
        make_site(database, settings, door), follow_redirects=False, raise_server_exceptions=False
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def site(database: Database, settings: Settings, door: Door) -> Iterator[str]:
    """The address of the pages, served for a browser."""
    with serving(make_site(database, settings, door)) as address:
        yield address


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """An empty tab whose clock shows UTC."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="UTC")
    yield context.new_page()
    context.close()
