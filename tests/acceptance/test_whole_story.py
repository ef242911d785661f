"""A complete session in a browser, with the real processes and the real engine.

A user logs in, sees a push arrive, reads its log during the build, rolls back, and cancels.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.keystone import ADMIN_PASSWORD, Keystone, until
from tests.acceptance.project import Nap, Project, add_project
from tests.browser import chromium, complaints_of
from tests.gitserver import GitServer

pytestmark = [pytest.mark.docker, pytest.mark.browser]

SOON_MS = 30_000
LIVE_WITHIN_MS = 60_000


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """A live app with its first version."""
    project = add_project(keystone, git_server, "seen")
    assert project.deploy("one")["state"] == "success"
    return project


@pytest.fixture(scope="module")
def tab(keystone: Keystone) -> Iterator[Page]:
    """A new tab in a fresh browser."""
    with chromium() as browser:
        context = browser.new_context(
            base_url=keystone.url, viewport={"width": 1280, "height": 900}
        )
        context.set_default_timeout(SOON_MS)
        yield context.new_page()


def push(project: Project, version: str) -> Nap:
    """Push a version whose build sleeps, and give the `Nap`."""
    nap = Nap()
    project.push(project.commit(version, dockerfile=nap.dockerfile))
    return nap


def test_from_the_login_to_a_cancelled_build(tab: Page, web: Project, keystone: Keystone) -> None:
    complaints = complaints_of(tab)
    log_in(tab)
    see_a_push_arrive_and_go_live(tab, web)
    roll_back(tab, web)
    cancel_a_build(tab, web)
    assert keystone.deployments("seen")[0]["state"] == "cancelled"
    assert complaints == []


def log_in(tab: Page) -> None:
    """Log in, and arrive at the requested page."""
    tab.goto("/apps/seen")
    assert urlsplit(tab.url).path == "/login"
    tab.get_by_label("Name").fill("admin")
    tab.get_by_label("Password").fill(ADMIN_PASSWORD)
    tab.get_by_role("button", name="Log in").click()
    expect(tab.get_by_role("heading", name="seen", level=1)).to_be_visible()
    assert urlsplit(tab.url).path == "/apps/seen"


def see_a_push_arrive_and_go_live(tab: Page, web: Project) -> None:
    """Watch the app's page update itself, then the log while it grows."""
    nap = push(web, "two")
    tab.get_by_role("link", name="Deployment #2").click(timeout=SOON_MS)
    log = tab.get_by_role("log", name="Log")
    # The line appears while the build still sleeps, so the page received it at once.
    expect(log).to_contain_text("sleep", timeout=SOON_MS)
    expect(tab.locator(".title .badge")).to_have_text("Running")
    until(nap.sleepers, timeout=SOON_MS / 1000, what="the build is asleep")
    nap.wake()
    expect(tab.locator(".title .badge")).to_have_text("Success", timeout=LIVE_WITHIN_MS)
    expect(log).to_contain_text("now leads to")
    expect(tab.get_by_label("Steps")).to_contain_text("Switch")
    assert web.answer() == "two"


def roll_back(tab: Page, web: Project) -> None:
    """Roll back to the first release, after which pushes are paused."""
    open_app(tab)
    tab.get_by_role("button", name="Roll back to v1").click()
    tab.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(tab).to_have_url(re.compile("/deployments/"))
    expect(tab.locator(".title .badge")).to_have_text("Success", timeout=LIVE_WITHIN_MS)
    assert web.answer() == "one"
    open_app(tab)
    expect(tab.get_by_text("Auto-deploy is paused: rolled back to v1")).to_be_visible()
    tab.get_by_role("button", name="Resume auto-deploy").click()
    expect(tab.get_by_text("Auto-deploy is paused")).to_be_hidden(timeout=SOON_MS)


def open_app(tab: Page) -> None:
    """Open the app's page, and wait until its scripts run, which a button may need."""
    tab.get_by_role("link", name="seen", exact=True).click()
    expect(tab.locator('[data-fact="restarts"]')).to_be_visible(timeout=SOON_MS)


def cancel_a_build(tab: Page, web: Project) -> None:
    """Cancel a build that would take ten minutes; the live release keeps serving."""
    push(web, "three")
    tab.get_by_role("link", name="Deployment #4").click(timeout=SOON_MS)
    expect(tab.get_by_role("log", name="Log")).to_contain_text("sleep", timeout=SOON_MS)
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator(".title .badge")).to_have_text("Cancelled", timeout=SOON_MS)
    assert web.answer() == "one"
