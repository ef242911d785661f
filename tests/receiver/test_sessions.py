"""Logging in and out, as a person with a browser and as somebody who guesses."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from httpx2 import Response
from sqlmodel import select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from jobs.processes.bus import Bus, connect
from jobs.processes.queue import WorkQueue
from jobs.records.tokens import digest
from jobs.states import Role
from jobs.storage.models import AuditEvent, LoginSession, now
from receiver.access import CSRF_HEADER
from receiver.app import create_app
from receiver.login_limits import LoginGate
from tests.builders import (
    PASSWORD,
    WebRuntime,
    change_session_rows,
    change_user_rows,
    cookie_name,
    make_session,
    make_user,
)


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


def test_the_cookie_is_kept_from_scripts_and_other_sites(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    cookie = log_in(client, ada).headers["set-cookie"]
    assert cookie.startswith(f"{cookie_name(runtime)}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie


def behind_https(runtime: WebRuntime) -> TestClient:
    """Reach the same Keystone by the https that its public URL speaks of."""
    settings = runtime.settings.model_copy(update={"public_url": "https://deploy.example.org"})
    app = create_app(replace(runtime, settings=settings))
    return TestClient(app, base_url="https://deploy.example.org", follow_redirects=False)


def test_behind_https_the_cookie_never_travels_in_clear(runtime: WebRuntime, ada: str) -> None:
    with behind_https(runtime) as client:
        cookie = log_in(client, ada).headers["set-cookie"]
        assert client.get("/api/apps").status_code == 200
    assert cookie.startswith(f"{cookie_name(runtime, is_secure=True)}=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()


def test_behind_https_no_cookie_is_believed_that_a_neighbour_could_have_set(
    runtime: WebRuntime,
) -> None:
    value = make_session(runtime).cookie.get_secret_value()
    with behind_https(runtime) as client:
        statuses = [
            client.get("/api/apps", headers={"Cookie": f"{name}={value}"}).status_code
            for name in (cookie_name(runtime), cookie_name(runtime, is_secure=True))
        ]
    assert statuses == [401, 200]


def test_logging_out_behind_https_takes_the_right_cookie_away(runtime: WebRuntime) -> None:
    opened = make_session(runtime)
    headers = {
        "Cookie": f"{cookie_name(runtime, is_secure=True)}={opened.cookie.get_secret_value()}",
        CSRF_HEADER: opened.csrf_token,
    }
    with behind_https(runtime) as client:
        answer = client.post("/logout", headers=headers)
        assert client.get("/api/apps", headers=headers).status_code == 401
    assert answer.headers["set-cookie"].startswith(f'{cookie_name(runtime, is_secure=True)}=""')


def test_the_session_is_stored_hashed(client: TestClient, runtime: WebRuntime, ada: str) -> None:
    log_in(client, ada)
    value = client.cookies[cookie_name(runtime)]
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


def test_a_wrong_password_and_no_such_user_look_the_same(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    answers = [
        log_in(client, ada, "a wrong password", next="/apps/web"),
        log_in(client, "nobody", "a wrong password", next="/apps/web"),
        log_in(client, "No Name\0", "a wrong password", next="/apps/web"),
    ]
    assert {answer.status_code for answer in answers} == {303}
    assert {answer.headers["location"] for answer in answers} == {
        "/login?error=wrong_credentials&next=%2Fapps%2Fweb"
    }
    assert cookie_name(runtime) not in client.cookies


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
    assert tags["login.failed"] == "stranger:unknown"
    assert tags["login.succeeded"] == f"user:{ada}"
    assert "a wrong password" not in str([event.model_dump() for event in events])


def test_a_password_typed_as_a_name_is_not_kept(client: TestClient, runtime: WebRuntime) -> None:
    log_in(client, "hunter2-is-my-password", "ada")
    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent)).one()
    assert (event.tag, event.target) == ("login.failed", "user:?")
    assert "hunter2" not in event.model_dump_json()


def test_another_site_cannot_log_a_browser_in(client: TestClient, ada: str) -> None:
    form = {"name": ada, "password": PASSWORD}
    answer = client.post("/login", data=form, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("form", [{}, {"name": "ada"}, {"name": "x" * 64, "password": "y"}])
def test_a_form_that_will_not_do_is_400(client: TestClient, form: dict[str, str]) -> None:
    assert client.post("/login", data=form).status_code == 400


def stop_the_clock(client: TestClient) -> None:
    """Have no wait ever end, however slow the machine is."""
    assert isinstance(client.app, Starlette)
    client.app.state.login_gate = LoginGate(lambda: 0.0)


def test_guessing_is_stopped(client: TestClient, ada: str) -> None:
    stop_the_clock(client)

    def guess(name: str) -> Response:
        return client.post("/login", json={"name": name, "password": "a guess"})

    # Somebody who exists and somebody who does not.
    for name in (ada, "nobody"):
        assert [guess(name).status_code for _ in range(6)] == [401] * 5 + [429]
        answer = log_in(client, name)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "Too many attempts" in answer.text


def test_limits_hold_when_redis_does_not_answer(runtime: WebRuntime) -> None:
    nowhere = connect(f"unix://{runtime.settings.data_dir}/no-redis.sock")
    lonely = replace(runtime, queue=WorkQueue(nowhere, "x"), bus=Bus(nowhere, "x"))
    with TestClient(create_app(lonely)) as client:
        stop_the_clock(client)
        guess = {"name": "nobody", "password": "a guess"}
        statuses = [client.post("/login", json=guess).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


def test_many_logins_at_once_do_not_keep_a_push_waiting(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def check_for_ever(*_: object) -> bool:
        has_begun.set()
        assert may_end.wait(60)
        return False

    monkeypatch.setattr("receiver.sessions.check_password", check_for_ever)
    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(log_in, client, f"user-{number}") for number in range(8)]
        assert has_begun.wait(60)
        assert client.get("/healthz").status_code == 200
        assert not any(future.done() for future in pending)
        may_end.set()
        assert {future.result(60).status_code for future in pending} == {303}


def test_logging_out_ends_the_session(client: TestClient, runtime: WebRuntime) -> None:
    opened = make_session(runtime, role=Role.VIEWER)
    value = opened.cookie.get_secret_value()
    client.cookies.set(cookie_name(runtime), value)
    answer = client.post("/logout", data={"csrf_token": opened.csrf_token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert f'{cookie_name(runtime)}=""' in answer.headers["set-cookie"]
    again = client.get("/api/apps", headers={"Cookie": f"{cookie_name(runtime)}={value}"})
    assert again.status_code == 401


def test_logging_out_everywhere_ends_every_session_of_the_user(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    other = make_session(runtime, name="bob")
    log_in(client, ada)
    first = client.cookies[cookie_name(runtime)]
    client.cookies.clear()
    token = client.post("/login", json={"name": ada, "password": PASSWORD}).json()["csrf_token"]
    form = {"csrf_token": token, "everywhere": "true"}
    assert client.post("/logout", data=form).headers["location"] == "/login"
    client.cookies.clear()
    sessions = {first: 401, other.cookie.get_secret_value(): 200}
    for cookie, status in sessions.items():
        answer = client.get("/api/apps", headers={"Cookie": f"{cookie_name(runtime)}={cookie}"})
        assert answer.status_code == status


def test_logging_in_again_makes_another_session_and_ends_the_old_one(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    log_in(client, ada)
    old = client.cookies[cookie_name(runtime)]
    log_in(client, ada)
    assert client.cookies[cookie_name(runtime)] != old
    assert client.get("/api/apps").status_code == 200
    client.cookies.clear()
    again = client.get("/api/apps", headers={"Cookie": f"{cookie_name(runtime)}={old}"})
    assert again.status_code == 401


def test_a_cookie_that_was_planted_is_not_taken_over(
    client: TestClient, runtime: WebRuntime, ada: str
) -> None:
    client.cookies.set(
        cookie_name(runtime), "chosen-by-somebody-else", domain="testserver.local", path="/"
    )
    log_in(client, ada)
    client.cookies.clear()
    planted = {"Cookie": f"{cookie_name(runtime)}=chosen-by-somebody-else"}
    assert client.get("/api/apps", headers=planted).status_code == 401


@pytest.mark.parametrize(
    "form", ["\xa0{}", "\x85{}", "\x0b{}", "{}\xa0", "{}x", "keystone_session"]
)
def test_a_name_that_only_looks_like_the_cookies_own_is_not_believed(
    client: TestClient, runtime: WebRuntime, form: str
) -> None:
    value = make_session(runtime).cookie.get_secret_value()
    cookie = f"{form.format(cookie_name(runtime))}={value}".encode("latin-1")
    assert client.get("/api/apps", headers={b"Cookie": cookie}).status_code == 401
    known = f"a=1; \t{cookie_name(runtime)}={value} ;b".encode()
    assert client.get("/api/apps", headers={b"Cookie": known}).status_code == 200


def test_another_keystone_on_the_host_logs_nobody_out(runtime: WebRuntime, ada: str) -> None:
    other = replace(runtime, identity="zyxwvu")
    with TestClient(create_app(runtime), follow_redirects=False) as client:
        log_in(client, ada)
        with TestClient(create_app(other), follow_redirects=False) as neighbour:
            neighbour.cookies = client.cookies
            log_in(neighbour, ada)
            client.cookies = neighbour.cookies
        assert {cookie_name(runtime), cookie_name(other)} <= set(client.cookies)
        assert client.get("/api/apps").status_code == 200


def test_sessions_of_older_versions_are_over(client: TestClient, runtime: WebRuntime) -> None:
    """Apps may know them: the router passed their cookies on."""
    value = make_session(runtime).cookie.get_secret_value()
    change_session_rows(runtime, hashed=digest(value))
    cookie = {"Cookie": f"{cookie_name(runtime)}={value}"}
    assert client.get("/api/apps", headers=cookie).status_code == 401


def test_logging_out_needs_the_csrf_token(client: TestClient, runtime: WebRuntime) -> None:
    opened = make_session(runtime, role=Role.VIEWER)
    client.cookies.set(cookie_name(runtime), opened.cookie.get_secret_value())
    assert client.post("/logout").status_code == 403
    assert client.get("/api/apps").status_code == 200


def test_the_login_page_is_the_dashboards(client: TestClient) -> None:
    answer = client.get("/login?error=wrong_credentials")
    assert answer.status_code == 200
    assert "The name or the password is wrong." in answer.text
