"""Using the settings pages without a browser: what they show, what is sent, what comes of it."""

import re
from dataclasses import dataclass
from html import unescape

from httpx2 import Response
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.reads.apps import app_view
from jobs.reads.views import AppView
from jobs.states import Role
from jobs.storage.models import App, AuditEvent
from tests.builders import WebRuntime, change_settings, cookie_name, make_session

SETTINGS = "/apps/web/settings"


@dataclass
class Browser:
    """Somebody's browser without JavaScript."""

    client: TestClient
    csrf_token: str

    def page(self, address: str, status: int = 200) -> str:
        """Give a page's HTML, once its status is as expected."""
        answer = self.client.get(address)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, address: str, do: str, **fields: str) -> Response:
        """Send one of a page's forms."""
        data = {"csrf_token": self.csrf_token, "do": do, **fields}
        headers = {"accept": "text/html", "referer": f"http://testserver{address}"}
        return self.client.post(address, data=data, headers=headers)

    def done(self, address: str, do: str, **fields: str) -> str:
        """Send a form that is taken; gives the page that it leads to."""
        answer = self.send(address, do, **fields)
        assert answer.status_code == 303, answer.text
        return self.page(answer.headers["location"])

    def refused(self, address: str, do: str, status: int = 400, /, **fields: str) -> str:
        """Send a form that is refused; gives the page as it is drawn again."""
        answer = self.send(address, do, **fields)
        assert answer.status_code == status, answer.text
        assert 'role="alert"' in answer.text
        return answer.text


def browser_of(client: TestClient, runtime: WebRuntime, role: Role) -> Browser:
    """Log somebody in."""
    opened = make_session(runtime, role=role)
    client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
    return Browser(client, opened.csrf_token)


def view(runtime: WebRuntime, name: str = "web") -> AppView:
    """Describe an app."""
    with runtime.database.reading() as session:
        return app_view(session, name, runtime.settings)


def tags(runtime: WebRuntime) -> list[str]:
    """Give what is on record."""
    with runtime.database.reading() as session:
        return [event.tag for event in session.exec(select(AuditEvent)).all()]


def change(runtime: WebRuntime, **fields: object) -> None:
    """Have somebody else change the app meanwhile."""
    with runtime.database.writing() as session:
        app = session.exec(select(App)).one()
        change_settings(app, **fields)


def shown(html: str) -> dict[str, str]:
    """Read a form's fields as a browser would send them back; of unchecked boxes, nothing."""
    found = dict(re.findall(r'<input id="[^"]*" name="([^"]+)" value="([^"]*)"', html))
    found |= dict(re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n([^<]*)</textarea>', html))
    found |= dict.fromkeys(re.findall(r'name="([^"]+)" value="true" checked', html), "true")
    found |= dict(re.findall(r'<input type="hidden" name="(drawn)" value="([^"]*)"', html))
    choices = re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL)
    for name, options in choices:
        chosen = re.search(r'value="([^"]+)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return {name: unescape(text) for name, text in found.items()}


def problem(html: str, field: str) -> str:
    """Give the sentence beside a field; empty when there is none."""
    found = re.search(rf'id="[\w-]*-{field}-problem">.*?<span>([^<]*)</span>', html, re.DOTALL)
    return found[1] if found else ""
