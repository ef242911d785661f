"""Logging in and out, as a person with a browser and as somebody who guesses."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from httpx2 import Response
from sqlmodel import select
from starlette.testclient import TestClient

from jobs.models import AuditEvent, LoginSession, now
from jobs.states import Role
from receiver.access import COOKIE, CSRF_HEADER
from receiver.app import create_app
from receiver.errors import RateLimitedError
from receiver.sessions import LoginGate
from tests.builders import PASSWORD, WebRuntime, change_user_rows, make_session, make_user


@pytest.fixture
def ada(runtime: WebRuntime) -> str:
    """The name of an admin who can log in."""
    return make_user(runtime).name


def log_in(client: TestClient, name: str, password: str = PASSWORD, **fields: str) -> Response:
    """Send the login form."""
    return client.post("/login", data={"name": name, "password": password, **fields})


def test_a_person_comes_in_and_is_known(client: TestClient, ada: str) -> None:
    answer = log_in(client, ada)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/api/users").json()["items"][0]["name"] == ada


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient, ada: str) -> None:
    cookie = log_in(client, ada).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def test_behind_https_the_cookie_never_travels_in_clear(runtime: WebRuntime, ada: str) -> None:
    settings = runtime.settings.model_copy(update={"public_url": "https://deploy.example.org"})
    app = create_app(replace(runtime, settings=settings))
    with TestClient(app, follow_redirects=False) as client:
        assert "Secure" in log_in(client, ada).headers["set-cookie"]


def test_the_session_is_stored_hashed(client: TestClient, runtime: WebRuntime, ada: str) -> None:
    log_in(client, ada)
    value = client.cookies[COOKIE]
    with runtime.database.reading() as session:
        row = session.exec(select(LoginSession)).one()
    assert value not in str(row.model_dump())


def test_a_program_gets_json(client: TestClient, ada: str) -> None:
    answer = client.post("/login", json={"name": ada, "password": PASSWORD})
    assert (answer.status_code, answer.json()["role"]) == (200, "admin")
    headers = {CSRF_HEADER: answer.json()["csrf_token"]}
    assert client.post("/api/deployments/1/cancel", headers=headers).status_code == 404


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/apps/web?before=3", "/apps/web?before=3"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("/login", "/"),
    ],
)
def test_one_goes_on_to_pages_of_ours_only(
    client: TestClient, ada: str, target: str, location: str
) -> None:
    assert log_in(client, ada, next=target).headers["location"] == location


def test_a_wrong_password_and_no_such_user_look_the_same(client: TestClient, ada: str) -> None:
    answers = [
        log_in(client, ada, "a wrong password", next="/apps/web"),
        log_in(client, "nobody", "a wrong password", next="/apps/web"),
        log_in(client, "No Name\0", "a wrong password", next="/apps/web"),
    ]
    assert {answer.status_code for answer in answers} == {303}
    assert {answer.headers["location"] for answer in answers} == {
        "/login?error=wrong_credentials&next=%2Fapps%2Fweb"
    }
    assert COOKIE not in client.cookies


def test_a_program_with_a_wrong_password_gets_401(client: TestClient, ada: str) -> None:
    answer = client.post("/login", json={"name": ada, "password": "a wrong password"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


def test_a_disabled_user_stays_outside(client: TestClient, runtime: WebRuntime, ada: str) -> None:
    change_user_rows(runtime, disabled_at=now())
    assert log_in(client, ada).headers["location"].startswith("/login?error=wrong")


def test_both_ends_of_an_attempt_are_on_record(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    log_in(client, ada, "a wrong password")
    log_in(client, ada)
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.target == f"user:{ada}")).all()
    tags = {event.tag: event.actor for event in events}
    assert tags["login.failed"] == "user:unknown"
    assert tags["login.succeeded"] == f"user:{ada}"
    assert "a wrong password" not in str([event.model_dump() for event in events])


def test_another_site_cannot_log_a_browser_in(client: TestClient, ada: str) -> None:
    form = {"name": ada, "password": PASSWORD}
    answer = client.post("/login", data=form, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("form", [{}, {"name": "ada"}, {"name": "x" * 64, "password": "y"}])
def test_a_form_that_will_not_do_is_400(client: TestClient, form: dict[str, str]) -> None:
    assert client.post("/login", data=form).status_code == 400


def test_guessing_is_stopped(client: TestClient, ada: str) -> None:
    statuses = [
        client.post("/login", json={"name": ada, "password": "a guess"}).status_code
        for _ in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2
    answer = log_in(client, ada)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "Too many attempts" in answer.text


def test_an_address_has_a_limit_over_all_accounts() -> None:
    gate = LoginGate()
    for number in range(30):
        gate.enter(name=f"user-{number}", address="192.0.2.7")
    with pytest.raises(RateLimitedError):
        gate.enter(name="ada", address="192.0.2.7")
    gate.enter(name="ada", address="192.0.2.8")


def test_coming_in_forgives_the_attempts_before() -> None:
    gate = LoginGate()
    for _ in range(10):
        gate.enter(name="ada", address="192.0.2.7")
    gate.forgive(name="ada")
    gate.enter(name="ada", address="192.0.2.7")


def test_many_logins_at_once_do_not_keep_a_push_waiting(client: TestClient, ada: str) -> None:
    barrier = threading.Barrier(9)

    def guess(_: int) -> int:
        barrier.wait(10)
        return log_in(client, ada, "a guess").status_code

    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(guess, number) for number in range(8)]
        barrier.wait(10)
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200
        took = time.monotonic() - began
        assert {future.result(30) for future in pending} == {303}
    assert took < 2


def test_logging_out_ends_the_session(client: TestClient, runtime: WebRuntime) -> None:
    opened = make_session(runtime, role=Role.VIEWER)
    value = opened.cookie.get_secret_value()
    client.cookies.set(COOKIE, value)
    answer = client.post("/logout", data={"csrf_token": opened.csrf_token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    again = client.get("/api/apps", headers={"Cookie": f"{COOKIE}={value}"})
    assert again.status_code == 401


def test_logging_out_needs_the_csrf_token(client: TestClient, runtime: WebRuntime) -> None:
    opened = make_session(runtime, role=Role.VIEWER)
    client.cookies.set(COOKIE, opened.cookie.get_secret_value())
    assert client.post("/logout").status_code == 403
    assert client.get("/api/apps").status_code == 200


def test_the_login_page_is_the_dashboards(client: TestClient) -> None:
    answer = client.get("/login?error=wrong_credentials")
    assert answer.status_code == 200
    assert "The name or the password is wrong." in answer.text
