"""/api/account: who is asking, and a password of one's own."""

import pytest
from httpx2 import Response
from sqlmodel import select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jobs.states import Role
from jobs.storage.models import AuditEvent
from receiver.access import CSRF_HEADER
from receiver.login_limits import LoginGate
from tests.builders import PASSWORD, WebRuntime, cookie_name, make_session, make_user

NEW = "a new long password"


@pytest.fixture
def ada(client: TestClient, runtime: WebRuntime) -> dict[str, str]:
    """A viewer who has logged in; gives the header that her changes need."""
    make_user(runtime, role=Role.VIEWER)
    answer = client.post("/login", json={"name": "ada", "password": PASSWORD})
    return {CSRF_HEADER: answer.json()["csrf_token"]}


def change(client: TestClient, headers: dict[str, str], present: str = PASSWORD) -> Response:
    """Ask for a new password."""
    form = {"present_password": present, "password": NEW}
    return client.post("/api/account/password", json=form, headers=headers)


def knows(client: TestClient, password: str) -> bool:
    """Whether ada could log in."""
    stranger = TestClient(client.app)
    answer = stranger.post("/login", json={"name": "ada", "password": password})
    return answer.status_code == 200


def test_a_person_is_told_who_and_where(client: TestClient, ada: dict[str, str]) -> None:
    account = client.get("/api/account").json()
    assert (account["kind"], account["name"], account["role"]) == ("user", "ada", "viewer")
    (session,) = account["sessions"]
    assert (session["address"], session["is_current"]) == ("testclient", True)


def test_a_program_is_told_who(deployer: TestClient) -> None:
    assert deployer.get("/api/account").json() == {
        "kind": "token",
        "name": "the-deployer",
        "role": "deployer",
        "sessions": [],
    }


def test_one_changes_ones_own_password_and_every_other_session_ends(
    client: TestClient, runtime: WebRuntime, ada: dict[str, str]
) -> None:
    mine = client.cookies[cookie_name(runtime)]
    client.cookies.clear()
    client.post("/login", json={"name": "ada", "password": PASSWORD})
    other = client.cookies[cookie_name(runtime)]
    client.cookies.clear()
    client.cookies.set(cookie_name(runtime), mine)
    assert change(client, ada).status_code == 204
    assert client.get("/api/account").status_code == 200
    client.cookies.clear()
    again = client.get("/api/account", headers={"Cookie": f"{cookie_name(runtime)}={other}"})
    assert again.status_code == 401
    assert (knows(client, NEW), knows(client, PASSWORD)) == (True, False)


def test_a_form_may_ask_for_it(client: TestClient, ada: dict[str, str]) -> None:
    form = {
        "present_password": PASSWORD,
        "password": NEW,
        "csrf_token": ada[CSRF_HEADER],
        "next": "//elsewhere.example",
    }
    answer = client.post("/api/account/password", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert knows(client, NEW)


def test_the_present_password_is_needed(
    client: TestClient, runtime: WebRuntime, ada: dict[str, str]
) -> None:
    answer = change(client, ada, present="a wrong guess")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert answer.json()["error"]["message"] == "present_password: is wrong"
    assert knows(client, PASSWORD)
    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.tag == "login.failed")).one()
    assert (event.actor, event.target) == ("user:ada", "user:ada")
    assert "guess" not in event.model_dump_json()


def test_whoever_found_an_open_browser_cannot_guess_for_long(
    client: TestClient, ada: dict[str, str]
) -> None:
    assert isinstance(client.app, Starlette)
    client.app.state.login_gate = LoginGate(lambda: 0.0)
    statuses = [change(client, ada, present="a wrong guess").status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]


@pytest.mark.parametrize("password", ["short", "password", "ada-ada-1", "", None])
def test_a_password_that_will_not_do_is_400(
    client: TestClient, ada: dict[str, str], password: str | None
) -> None:
    body = {"present_password": PASSWORD, "password": password}
    answer = client.post("/api/account/password", json=body, headers=ada)
    assert answer.status_code == 400
    assert "short" not in answer.text


def test_without_the_csrf_token_nothing_changes(client: TestClient, ada: dict[str, str]) -> None:
    assert ada
    assert change(client, {}).json()["error"]["code"] == "csrf"
    assert knows(client, PASSWORD)


def test_a_token_has_no_password(admin: TestClient, runtime: WebRuntime) -> None:
    make_session(runtime, name="the-admin")
    assert change(admin, {}).status_code == 403
