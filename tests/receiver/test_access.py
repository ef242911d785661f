"""Who may come in where: every route of the table, tried by everybody."""

import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

import pytest
from httpx2 import Response
from starlette.requests import Request
from starlette.testclient import TestClient

from jobs.models import ApiToken, now
from jobs.records.access import OpenedSession, find_session, revoke_token
from jobs.states import Role
from receiver.access import COOKIE, CSRF_HEADER, SAFE_METHODS, Door, is_local
from receiver.routing import Endpoint
from receiver.table import ENDPOINTS
from tests.builders import (
    TESTER,
    WebRuntime,
    change_session_rows,
    change_user_rows,
    make_session,
    make_token,
)

GUARDED = [endpoint for endpoint in ENDPOINTS if isinstance(endpoint.needs, Role)]
CHANGES = [endpoint for endpoint in GUARDED if endpoint.method not in SAFE_METHODS]
PROBES = {"{id}": "999999", "{app}": "no-such-app", "{name}": "NO_SUCH_NAME"}
Ask = Callable[[Endpoint], Response]


def ask(client: TestClient, endpoint: Endpoint, **headers: str) -> Response:
    """Call an endpoint about something that does not exist, with a body that will not do."""
    path = endpoint.path
    for place, value in PROBES.items():
        path = path.replace(place, value)
    return client.request(endpoint.method, path, headers=headers)


def refusals(endpoints: Sequence[Endpoint], one: Ask) -> dict[str, int]:
    """Give the endpoints that do not let somebody in, each with its status."""
    answers = {f"{each.method} {each.path}": one(each).status_code for each in endpoints}
    assert all(status < 500 for status in answers.values()), answers
    return {name: status for name, status in answers.items() if status in {401, 403}}


def closed_to(role: Role) -> dict[str, int]:
    """Give the endpoints that somebody known must not come into."""
    return {
        f"{each.method} {each.path}": 403
        for each in GUARDED
        if isinstance(each.needs, Role) and not role.includes(each.needs)
    }


EVERYTHING = {f"{each.method} {each.path}": 401 for each in GUARDED}


class Browse(Protocol):
    """Makes a browser that is logged in with a role."""

    def __call__(self, role: Role) -> tuple[TestClient, OpenedSession]: ...


@pytest.fixture
def browse(client: TestClient, runtime: WebRuntime) -> Browse:
    """Open sessions, each of a user of its own."""
    numbers = itertools.count()

    def open_browser(role: Role) -> tuple[TestClient, OpenedSession]:
        opened = make_session(runtime, name=f"user-{next(numbers)}", role=role)
        browser = TestClient(
            client.app,
            cookies={COOKIE: opened.cookie.get_secret_value()},
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        return browser, opened

    return open_browser


@pytest.fixture
def programs(viewer: TestClient, deployer: TestClient, admin: TestClient) -> dict[Role, TestClient]:
    """A program of each role."""
    return {Role.VIEWER: viewer, Role.DEPLOYER: deployer, Role.ADMIN: admin}


# --- The matrix: every endpoint that needs a role, asked by everybody --------------------------


def test_a_stranger_comes_in_nowhere(client: TestClient) -> None:
    assert refusals(GUARDED, lambda endpoint: ask(client, endpoint)) == EVERYTHING


def test_a_stranger_is_told_how_to_come_in(client: TestClient) -> None:
    answer = client.get("/api/apps")
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("role", Role)
def test_a_program_comes_in_where_its_role_is_enough_and_nowhere_else(
    programs: dict[Role, TestClient], role: Role
) -> None:
    assert refusals(GUARDED, lambda endpoint: ask(programs[role], endpoint)) == closed_to(role)


@pytest.mark.parametrize("role", Role)
def test_a_person_comes_in_where_the_role_is_enough_and_nowhere_else(
    browse: Browse, role: Role
) -> None:
    def once(endpoint: Endpoint) -> Response:
        browser, opened = browse(role)  # a session each: one of the endpoints ends it
        return ask(browser, endpoint, **{CSRF_HEADER: opened.csrf_token})

    assert refusals(GUARDED, once) == closed_to(role)


def test_a_revoked_token_opens_nothing(admin: TestClient, runtime: WebRuntime) -> None:
    with runtime.database.writing() as session:
        revoke_token(session, "the-admin", TESTER)
    assert refusals(GUARDED, lambda endpoint: ask(admin, endpoint)) == EVERYTHING


@pytest.mark.parametrize(
    "age", [{"last_seen_at": 13}, {"created_at": 15 * 24}], ids=["idle", "old"]
)
def test_a_session_that_is_over_opens_nothing(
    browse: Browse, runtime: WebRuntime, age: dict[str, int]
) -> None:
    browser, opened = browse(Role.ADMIN)
    change_session_rows(runtime, **{k: now() - timedelta(hours=hours) for k, hours in age.items()})
    right = {CSRF_HEADER: opened.csrf_token}
    assert refusals(GUARDED, lambda endpoint: ask(browser, endpoint, **right)) == EVERYTHING


def test_a_disabled_users_session_opens_nothing(browse: Browse, runtime: WebRuntime) -> None:
    browser, opened = browse(Role.ADMIN)
    change_user_rows(runtime, disabled_at=now())
    right = {CSRF_HEADER: opened.csrf_token}
    assert refusals(GUARDED, lambda endpoint: ask(browser, endpoint, **right)) == EVERYTHING


@pytest.mark.parametrize(
    ("headers", "knows_token"),
    [
        ({}, False),
        ({CSRF_HEADER: "guessed"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "https://elsewhere.example"}, True),
        ({"Origin": "null"}, True),
    ],
    ids=["no token", "wrong token", "cross-site", "same-site", "other origin", "no origin"],
)
def test_a_browser_that_was_made_to_send_a_change_is_refused(
    browse: Browse, headers: dict[str, str], *, knows_token: bool
) -> None:
    browser, opened = browse(Role.ADMIN)
    right = {CSRF_HEADER: opened.csrf_token} if knows_token else {}
    answers = [ask(browser, endpoint, **headers, **right) for endpoint in CHANGES]
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.json()["error"]["code"] for answer in answers} == {"csrf"}


# --- The rest of the table -------------------------------------------------------------------


def test_what_needs_no_role_is_exactly_this() -> None:
    doors = {
        f"{endpoint.method} {endpoint.path}": endpoint.needs
        for endpoint in ENDPOINTS
        if isinstance(endpoint.needs, Door)
    }
    assert doors == {
        "POST /webhooks/github": Door.SIGNATURE,
        "GET /metrics": Door.TOKEN_OR_LOOPBACK,
        "GET /healthz": Door.ANYONE,
        "GET /readyz": Door.ANYONE,
        "POST /login": Door.ANYONE,
        "GET /api/openapi.json": Door.ANYONE,
        "GET /api/docs": Door.ANYONE,
        "GET /api/docs.css": Door.ANYONE,
    }


@pytest.mark.parametrize("path", ["/", "/apps/web", "/deployments/1", "/deliveries"])
def test_a_stranger_sees_no_page_but_the_login(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


def test_the_api_has_no_page_for_what_is_missing(client: TestClient) -> None:
    answer = client.get("/api/nothing/here", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_wrong_method_names_the_right_ones(admin: TestClient) -> None:
    answer = admin.put("/api/apps/web")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, PATCH")


# --- Details ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer " + "x" * 201]
)
def test_what_is_no_token_is_nobodys(client: TestClient, authorization: str) -> None:
    answer = client.get("/api/apps", headers={"Authorization": authorization})
    assert answer.status_code == 401


def test_a_bad_token_is_not_saved_by_a_good_cookie(browse: Browse) -> None:
    browser, _ = browse(Role.ADMIN)
    assert browser.get("/api/apps").status_code == 200
    answer = browser.get("/api/apps", headers={"Authorization": "Bearer ks_wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("origin", ["http://testserver", "https://testserver"])
def test_our_own_pages_may_send_changes(browse: Browse, origin: str) -> None:
    browser, opened = browse(Role.ADMIN)
    headers = {CSRF_HEADER: opened.csrf_token, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/api/deployments/1/cancel", headers=headers).status_code == 404


def test_a_forms_field_may_hold_the_csrf_token(browse: Browse) -> None:
    browser, opened = browse(Role.ADMIN)
    answer = browser.post("/api/deployments/1/cancel", data={"csrf_token": opened.csrf_token})
    assert answer.status_code == 404


def test_a_session_is_touched_once_a_minute(browse: Browse, runtime: WebRuntime) -> None:
    browser, opened = browse(Role.VIEWER)

    def seen_at() -> object:
        with runtime.database.reading() as session:
            found = find_session(session, opened.cookie.get_secret_value())
        assert found is not None
        return found[0].last_seen_at

    fresh = seen_at()
    browser.get("/api/apps")
    assert seen_at() == fresh
    change_session_rows(runtime, last_seen_at=now() - timedelta(minutes=2))
    stale = seen_at()
    browser.get("/api/apps")
    assert seen_at() != stale


def test_a_tokens_use_is_remembered(viewer: TestClient, runtime: WebRuntime) -> None:
    viewer.get("/api/apps")
    with runtime.database.reading() as session:
        token = session.get_one(ApiToken, 1)
    assert token.last_used_at is not None


def test_a_database_that_is_gone_is_503_and_not_a_stranger(
    viewer: TestClient, runtime: WebRuntime
) -> None:
    runtime.database.close()
    for path in runtime.settings.data_dir.glob("keystone.db*"):
        path.unlink()
    answer = viewer.get("/api/apps")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_only_the_newest_tokens_value_works(client: TestClient, runtime: WebRuntime) -> None:
    old = make_token(runtime, name="ci", role=Role.VIEWER)
    with runtime.database.writing() as session:
        revoke_token(session, "ci", TESTER)
    new = make_token(runtime, name="ci", role=Role.VIEWER)
    statuses = [
        client.get("/api/apps", headers={"Authorization": f"Bearer {token}"}).status_code
        for token in (old, new)
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("192.0.2.7", {}, False),
        ("testclient", {}, False),
        (None, {}, False),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, False),
        ("127.0.0.1", {"forwarded": "for=192.0.2.7"}, False),
        ("127.0.0.1", {"x-real-ip": "192.0.2.7"}, False),
        ("127.0.0.1", {"via": "1.1 proxy"}, False),
        ("127.0.0.1", {"host": "rebound.example"}, False),
    ],
)
def test_who_counts_as_local(peer: str | None, headers: dict[str, str], expected: bool) -> None:  # noqa: FBT001
    raw = {"host": "127.0.0.1:8000", **headers}
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "query_string": b"",
        "client": (peer, 50000) if peer else None,
        "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
    }
    assert is_local(Request(scope)) is expected
