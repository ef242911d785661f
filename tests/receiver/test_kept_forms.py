"""Values that a person typed are never lost: a session that is over, another one, no database."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobs.errors import StorageError
from jobs.reads.apps import app_view
from jobs.storage.database import Database
from tests.builders import PASSWORD, WebRuntime, cookie_name, make_app, make_session, make_user

SECRET = "planted-and-never-to-be-seen-again"
SETTINGS = "/apps/web/settings"
Send = Callable[..., Any]


@pytest.fixture
def send(client: TestClient, runtime: WebRuntime) -> Send:
    """Sends a form as a browser without JavaScript does."""
    make_app(runtime)

    def send(address: str, **fields: str) -> Any:  # noqa: ANN401
        headers = {"accept": "text/html", "referer": f"http://testserver{address}"}
        return client.post(address, data=fields, headers=headers)

    return send


@pytest.fixture
def ada(client: TestClient, runtime: WebRuntime) -> str:
    """An admin who is logged in; gives the session's CSRF token."""
    opened = make_session(runtime)
    client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
    return opened.csrf_token


def hidden(html: str) -> dict[str, str]:
    """Read the fields of the page's form that nobody sees."""
    form = html[html.index('<form class="sheet') :]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))


@contextmanager
def no_database(monkeypatch: pytest.MonkeyPatch, *ways: str) -> Iterator[None]:
    """Have the database answer nothing."""

    def refuse(_self: Database, **_: object) -> None:
        raise StorageError("could not connect to db.internal")

    with monkeypatch.context() as patch:
        for way in ways:
            patch.setattr(Database, way, refuse)
        yield


def test_a_session_that_is_over_loses_nothing_that_was_typed(
    client: TestClient, runtime: WebRuntime, send: Send
) -> None:
    address = f"{SETTINGS}/domains"
    typed = {"do": "save", "domains": "a.example.com\r\nb.example.com"}
    answer = send(address, **typed, csrf_token="of-old")
    assert answer.status_code == 401
    assert "Your session is over" in answer.text
    assert '<a class="button primary" href="/login" target="_blank"' in answer.text
    assert "a.example.com\r\nb.example.com</pre>" in answer.text
    assert hidden(answer.text) == typed
    assert send(address, **typed).status_code == 401  # without a login nothing else happens

    make_user(runtime, name="eve")
    client.post("/login", data={"name": "eve", "password": PASSWORD})
    again = send(address, **hidden(answer.text))
    assert again.status_code == 403
    assert "nothing was changed; look it over and send it again" in again.text
    assert "a.example.com\r\nb.example.com</textarea>" in again.text
    token = hidden(again.text)["csrf_token"]
    assert send(address, **typed, csrf_token=token).status_code == 303
    with runtime.database.reading() as session:
        app = app_view(session, "web", runtime.settings)
    assert app.domains == ["a.example.com", "b.example.com"]


def test_a_stranger_is_shown_what_he_sent_and_nothing_of_ours(send: Send) -> None:
    answer = send(SETTINGS, do="save", branch="<b>next", auto_deploy="true")
    assert "<dd>&lt;b&gt;next</dd>" in answer.text
    assert "<dd>yes</dd>" in answer.text
    assert "octo/web" not in answer.text


def test_what_another_site_sends_is_shown_to_nobody(
    client: TestClient, runtime: WebRuntime, ada: str, send: Send
) -> None:
    planted = {"do": "add-user", "name": "evil", "role": "admin", "password": SECRET}
    headers = {
        "accept": "text/html",
        "origin": "http://evil.example",
        "referer": "http://evil.example/",
    }
    for cookie in (client.cookies[cookie_name(runtime)], ""):
        client.cookies.set(cookie_name(runtime), cookie)
        answer = client.post("/users", data=planted, headers=headers)
        assert answer.status_code in {401, 403}
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("/account", {"do": "password", "present_password": SECRET, "password": SECRET}),
        (f"{SETTINGS}/variables", {"variable": "KEY", "value": SECRET, "secret": "true"}),
        (f"{SETTINGS}/variables", {"variable": "KEY", "value": SECRET, "secret": ""}),
        (f"{SETTINGS}/variables", {"text": f"KEY={SECRET}", "secret": ""}),
        (f"{SETTINGS}/repository", {"do": "set-token", "id": "1", "token": SECRET}),
        (f"{SETTINGS}/domains", {"domain": "a.example.com", "key": SECRET}),
    ],
)
def test_what_is_secret_is_not_shown_again_and_the_page_says_so(
    send: Send, address: str, fields: dict[str, str]
) -> None:
    answer = send(address, **fields)
    assert answer.status_code == 401
    assert SECRET not in answer.text
    assert "Secrets are not kept: type them again then." in answer.text


def test_a_form_without_anything_typed_leads_to_the_login_and_back(
    client: TestClient, send: Send
) -> None:
    answer = send("/tokens", do="revoke-token", id="1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?error=expired&next=%2Ftokens"
    headers = {"accept": "text/html", "referer": "http://testserver/apps/web?before=9"}
    answer = client.post("/logout", data={"csrf_token": "of-old"}, headers=headers)
    assert answer.headers["location"] == "/login?error=expired&next=%2Fapps%2Fweb%3Fbefore%3D9"


def test_a_button_of_a_page_leads_to_the_login_and_back(client: TestClient, send: Send) -> None:
    headers = {"accept": "text/html", "referer": "http://testserver/apps/web"}
    sent = {"csrf_token": "of-old", "ref": "", "after": "0"}
    answer = client.post("/api/apps/web/deployments", data=sent, headers=headers)
    assert answer.headers["location"] == "/login?error=expired&next=%2Fapps%2Fweb"


def test_a_program_without_a_token_gets_the_bare_answer(client: TestClient, send: Send) -> None:
    answer = client.post("/users", data={"do": "add-user", "name": "ada"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


def test_a_form_of_another_session_is_drawn_again_as_it_was(ada: str, send: Send) -> None:
    typed = {"do": "set-variable", "variable": "KEY", "value": SECRET, "secret": "true"}
    answer = send(f"{SETTINGS}/variables", **typed, csrf_token="of-another")
    assert answer.status_code == 403
    assert 'name="variable" value="KEY"' in answer.text
    assert SECRET not in answer.text
    assert "send it again. Secrets are not kept: type them again." in answer.text
    assert hidden(answer.text)["csrf_token"] == ada


def test_a_database_that_takes_nothing_loses_nothing(
    ada: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = {"do": "add-token", "csrf_token": ada, "name": "ci", "role": "viewer"}
    with no_database(monkeypatch, "writing"):
        answer = send("/tokens", **typed, expires_in_days="30")
    assert answer.status_code == 503
    assert "nothing was changed, so try again" in answer.text
    assert 'name="name" value="ci"' in answer.text
    assert "db.internal" not in answer.text


def test_a_database_that_is_away_loses_nothing(
    ada: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = {"do": "add-token", "name": "ci", "role": "viewer", "expires_in_days": "30"}
    with no_database(monkeypatch, "reading", "writing"):
        answer = send("/tokens", **typed, csrf_token=ada)
    assert answer.status_code == 503
    kept = hidden(answer.text)
    assert kept == typed
    again = send("/tokens", **kept)
    assert again.status_code == 403
    token = hidden(again.text)["csrf_token"]
    assert send("/tokens", **kept, csrf_token=token).is_success


def test_a_database_that_goes_away_meanwhile_loses_nothing(
    ada: str, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("could not connect to db.internal")

    monkeypatch.setattr("dashboard.pages.people.people.tokens", refuse)
    answer = send("/tokens", do="add-token", csrf_token=ada, name="ci", role="viewer", token="x y")
    assert answer.status_code == 503
    assert hidden(answer.text) == {"do": "add-token", "name": "ci", "role": "viewer"}
