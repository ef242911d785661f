"""Who is asking: tokens, sessions, origins, and what whoever is turned away is told."""

import itertools
from datetime import timedelta
from typing import Protocol

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from jobs.records.logins import OpenedSession, find_session
from jobs.records.tokens import find_api_token, revoke_api_token
from jobs.states import Role
from jobs.storage.models import ApiToken, now
from receiver.access import CSRF_HEADER, is_local
from tests.builders import (
    TESTER,
    WebRuntime,
    change_session_rows,
    cookie_name,
    make_session,
    make_token,
)


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
            cookies={cookie_name(runtime): opened.cookie.get_secret_value()},
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        return browser, opened

    return open_browser


def test_a_stranger_is_told_how_to_come_in(client: TestClient) -> None:
    answer = client.get("/api/apps")
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_api_has_no_page_for_what_is_missing(client: TestClient) -> None:
    answer = client.get("/api/nothing/here", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "PROPFIND"])
def test_a_wrong_method_names_the_right_ones(client: TestClient, method: str) -> None:
    answer = client.request(method, "/api/apps/web")
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer " + "x" * 201]
)
def test_an_invalid_token_belongs_to_no_user(client: TestClient, authorization: str) -> None:
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


def test_a_tokens_use_is_written_down_once_a_minute(
    viewer: TestClient, runtime: WebRuntime
) -> None:
    def used_at() -> object:
        with runtime.database.reading() as session:
            return session.get_one(ApiToken, 1).last_used_at

    viewer.get("/api/apps")
    first = used_at()
    viewer.get("/api/apps")
    assert used_at() == first
    with runtime.database.writing() as session:
        session.get_one(ApiToken, 1).last_used_at = now() - timedelta(seconds=61)
    viewer.get("/api/apps")
    assert used_at() != first


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        ("revoked", "this token was revoked"),
        ("expired", "this token has expired"),
        ("unknown", "this is no token of this Keystone"),
    ],
)
def test_whoever_holds_a_worthless_token_is_told_why(
    client: TestClient, runtime: WebRuntime, ended: str, sentence: str
) -> None:
    token = make_token(runtime, name="ci", role=Role.VIEWER)
    with runtime.database.writing() as session:
        if ended == "revoked":
            revoke_api_token(session, "ci", TESTER)
        elif row := find_api_token(session, token):
            row.expires_at = now() - timedelta(seconds=1)
    shown = "ks_something-else" if ended == "unknown" else token
    answer = client.get("/api/apps", headers={"Authorization": f"Bearer {shown}"})
    assert answer.status_code == 401
    assert sentence in answer.json()["error"]["message"]
    assert "`keystone token create`" in answer.json()["error"]["message"]
    assert token not in answer.text


def test_whoever_has_an_old_cookie_is_told_to_log_in(
    client: TestClient, runtime: WebRuntime
) -> None:
    answer = client.get("/api/apps", headers={"Cookie": f"{cookie_name(runtime)}=over"})
    assert answer.json()["error"]["message"] == "this session is over; log in again"


def test_a_role_counts_from_the_next_request_on(
    admin: TestClient, browse: Browse, runtime: WebRuntime
) -> None:
    browser, opened = browse(Role.VIEWER)
    right = {CSRF_HEADER: opened.csrf_token}
    assert browser.post("/api/deployments/1/cancel", headers=right).status_code == 403
    assert admin.patch("/api/users/user-0", json={"role": "deployer"}).status_code == 200
    assert browser.post("/api/deployments/1/cancel", headers=right).status_code == 404


def test_only_the_newest_tokens_value_works(client: TestClient, runtime: WebRuntime) -> None:
    old = make_token(runtime, name="ci", role=Role.VIEWER)
    with runtime.database.writing() as session:
        revoke_api_token(session, "ci", TESTER)
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
