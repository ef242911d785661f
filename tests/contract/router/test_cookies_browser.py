"""A logged-in user of the dashboard and an app on the same host name, in Chromium."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, Page

from jobs.rules.container_values import Route
from receiver.app import create_app
from tests.browser import SEEN_WITHIN_MS, chromium
from tests.builders import PASSWORD, WebRuntime, cookie_name, make_user
from tests.contract.router.raw import Mirror
from tests.haproxy import LOCALHOST, RunningRouter
from tests.receiver.live import serving

pytestmark = pytest.mark.browser


@dataclass
class Neighbours:
    """The dashboard's page of a logged-in user, and an app on another port."""

    page: Page
    dashboard: str
    app_url: str
    app: Mirror
    cookie: str

    def session(self) -> str:
        """Give the value of the session cookie in the browser."""
        context: BrowserContext = self.page.context
        (found,) = (each for each in context.cookies() if each["name"] == self.cookie)
        return str(found["value"])


@pytest.fixture
def neighbours(runtime: WebRuntime, running: RunningRouter) -> Iterator[Neighbours]:
    make_user(runtime)
    with serving(create_app(runtime)) as web, Mirror() as app, chromium() as browser:
        running.adapter.switch(Route(running.ports[0], "a", app.address))
        page = browser.new_page()
        page.set_default_timeout(SEEN_WITHIN_MS)
        page.goto(f"http://{LOCALHOST}:{web}/login")
        page.fill("input[name=name]", "ada")
        page.fill("input[name=password]", PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"http://{LOCALHOST}:{web}/")
        app_url = f"http://{LOCALHOST}:{running.ports[0]}/"
        yield Neighbours(page, f"http://{LOCALHOST}:{web}/", app_url, app, cookie_name(runtime))


def test_an_app_on_the_same_host_never_sees_the_session(neighbours: Neighbours) -> None:
    secret = neighbours.session()
    neighbours.app.adds.append(b"Set-Cookie: mine=1")
    for _ in range(2):
        neighbours.page.goto(neighbours.app_url)
    assert not any(secret.encode() in request for request in neighbours.app.seen)
    assert any(b"\r\ncookie: mine=1\r\n" in request for request in neighbours.app.seen)
    # The browser still has the session cookie.
    neighbours.page.goto(neighbours.dashboard)
    assert neighbours.page.url == neighbours.dashboard


@pytest.mark.parametrize(
    "form",
    ["{}=planted", "={}=planted", " \t{}=planted", "\xa0{}=planted", "{}=planted; Path=/apps"],
)
def test_an_app_on_the_same_host_cannot_set_another_session(
    neighbours: Neighbours, form: str
) -> None:
    secret = neighbours.session()
    neighbours.app.adds.append(f"Set-Cookie: {form.format(neighbours.cookie)}".encode("latin-1"))
    neighbours.page.goto(neighbours.app_url)
    assert neighbours.app.seen
    assert "planted" not in str(neighbours.page.context.cookies())
    assert neighbours.session() == secret
    neighbours.page.goto(f"{neighbours.dashboard}account")
    assert neighbours.page.url == f"{neighbours.dashboard}account"
