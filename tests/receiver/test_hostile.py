"""What broke into others, and what a fuzzer found here: all of it at the front door."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlmodel import select
from starlette.responses import Response
from starlette.testclient import TestClient

from dashboard.filters import day_of
from dashboard.pages.login import safe_next
from jobs.storage.models import Delivery, Deployment, Repository
from receiver.access import host_of
from receiver.protocol import BoundedHttp
from receiver.strict_json import ensure_storable, strict_json
from tests.builders import (
    SHA_C,
    WebRuntime,
    change_app_row,
    cookie_name,
    make_app,
    make_live,
    make_session,
    payload,
    signed,
    webhook_secret,
    write_log,
)
from tests.receiver.asking import Answered, Asked, ask
from tests.receiver.live import connected, head, read_answer, serving

WEBHOOK = "/webhooks/github"
EVIL = "https://evil.example/stolen.git"
TURNED = "\u202egpj.exe\u2066"
JSON = {"content-type": "application/json"}
SOME = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def secret(runtime: WebRuntime) -> SecretStr:
    """The webhook secret of octo/web, which the app `web` deploys."""
    return webhook_secret(make_app(runtime))


def push(client: TestClient, secret: SecretStr, **changes: object) -> int:
    """Deliver a push and give the status of the answer."""
    request = signed(secret, payload("push", **changes))
    return client.post(WEBHOOK, content=request.body, headers=request.headers).status_code


# --- What a signed push may try --------------------------------------------------------------


def test_a_push_never_changes_the_clone_url(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    addresses = ("clone_url", "ssh_url", "git_url", "url", "html_url")
    forged = {f"repository__{name}": EVIL for name in addresses}
    assert push(client, secret, compare=EVIL, **forged) == 202
    with runtime.database.reading() as session:
        assert session.exec(select(Repository.git_url)).one() == "https://github.com/octo/web.git"
    kept = b"".join(path.read_bytes() for path in runtime.settings.data_dir.glob("keystone.db*"))
    assert b"octo/web" in kept
    assert b"evil.example" not in kept


def test_of_a_commit_message_of_a_megabyte_the_beginning_is_kept(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    assert push(client, secret, head_commit__message="x" * 2**20) == 202
    with runtime.database.reading() as session:
        assert len(session.exec(select(Deployment)).one().commit_message) == 2000


def test_nobody_is_fooled_by_marks_that_turn_the_text(
    client: TestClient, viewer: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    author = {"name": f"ada{TURNED}\x1b[2J\x9b31m"}
    message = f"fix {TURNED}\r\x1b]0;title\x07"
    assert push(client, secret, head_commit__message=message, head_commit__author=author) == 202
    other = {"ref": f"refs/heads/{TURNED}", "after": SHA_C, "head_commit__id": SHA_C}
    assert push(client, secret, **other) == 200
    session = make_session(runtime, name="ada")
    cookie = {"cookie": f"{cookie_name(runtime)}={session.cookie.get_secret_value()}"}
    pages = [client.get(path, headers=cookie) for path in ("/apps/web", "/deployments/1")]
    answers = [*pages, viewer.get("/api/deployments")]
    for answer in answers:
        assert answer.status_code == 200
        assert "gpj.exe" in answer.text
        assert not set(answer.text) & set("\u202e\u2066\x1b\x9b\x07\r")
    with runtime.database.reading() as rows:
        reasons = set(rows.exec(select(Delivery.reason)))
    assert reasons == {"", "web deploys main, not \ufffdgpj.exe\ufffd"}


@pytest.mark.parametrize(
    "sha",
    [
        "HEAD",
        "--upload-pack=id",
        "$(id)",
        "main",
        "a" * 39,
        "a" * 41,
        "A" * 40,
        "a" * 39 + "\u0430",
    ],
)
@pytest.mark.parametrize("field", ["after", "head_commit__id"])
def test_what_is_no_commit_is_400(
    client: TestClient, runtime: WebRuntime, secret: SecretStr, field: str, sha: str
) -> None:
    assert push(client, secret, **{field: sha}) == 400
    with runtime.database.reading() as session:
        assert session.exec(select(Deployment)).all() == []


def test_paths_of_a_megabyte_keep_nobody_waiting(
    client: TestClient, runtime: WebRuntime, secret: SecretStr
) -> None:
    change_app_row(runtime, "web", watch_paths=[f"**/*.{kind}" for kind in "abcdefghij"])
    commits = [{"added": ["a" * 1_000_000 + str(number) for number in range(24)]}]
    begun = time.process_time()
    assert push(client, secret, commits=commits) == 202
    # It took 53 s, in which nobody else could write; one-sided, since machines may be busy.
    assert time.process_time() - begun < 20


# --- What a fuzzer found ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["origin", "referer", "host"])
@pytest.mark.parametrize("value", ["http://[", "[", "[::1", "http://a]b", "a:99999999", ""])
def test_an_address_that_is_none_crashes_nothing(
    client: TestClient, runtime: WebRuntime, name: str, value: str
) -> None:
    session = make_session(runtime, name="ada")
    headers = {
        "accept": "text/html",
        "content-type": "application/x-www-form-urlencoded",
        "cookie": f"{cookie_name(runtime)}={session.cookie.get_secret_value()}",
        "x-csrf-token": session.csrf_token,
        name: value,
    }
    for path in ("/api/tokens", "/api/tokens/", "/login", "/nothing"):
        answer = ask(client, Asked("POST", path, headers, body=b"name=a&role=viewer"))
        assert answer.status < 500
    if name == "origin":
        assert ask(client, Asked("POST", "/logout", headers)).status == 403


HALF = '"\\ud800 aaaaaaaaaaaaaaaaaaaa"'


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/login", '{"name": "ada", "password": %s}'),
        ("POST", "/login", '{"name": %s, "password": "x"}'),
        ("POST", "/api/users", '{"name": "eve", "role": "viewer", "password": %s}'),
        ("PUT", "/api/apps/web/env/A", '{"value": %s}'),
        ("PUT", "/api/repositories/1/webhook-secret", '{"secret": %s}'),
        ("PUT", "/api/certificates/a.example", '{"certificate": %s, "key": %s}'),
        ("PATCH", "/api/apps/web", '{"labels": {%s: "x"}}'),
        ("PATCH", "/api/apps/web", "{%s: 1}"),
    ],
)
def test_half_a_character_is_400_wherever_it_stands(
    admin: TestClient, secret: SecretStr, method: str, path: str, body: str
) -> None:
    answer = admin.request(method, path, content=body.replace("%s", HALF), headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "half a character" in answer.json()["error"]["message"]


def test_a_flood_of_names_is_refused_before_each_is_looked_at(admin: TestClient) -> None:
    body = "{" + ",".join(f'"k{number}": 1' for number in range(50_000)) + "}"
    answer = admin.post("/api/apps", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith("it has more than 100 fields")


@pytest.mark.parametrize("field", ["since", "until"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_the_calendar_are_400(admin: TestClient, field: str, moment: str) -> None:
    answer = admin.get("/api/audit", params={field: moment})
    assert answer.status_code == 400
    assert "1970 to 2999" in answer.json()["error"]["message"]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2026-02-30", "yesterday"])
def test_a_day_that_is_none_of_ours_is_left_out(day: str) -> None:
    assert day_of(day) is None


def test_an_offset_that_no_file_has_is_refused(viewer: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    make_live(runtime)
    write_log(runtime, 1, ["one line"])
    path = "/api/deployments/1/logs"
    assert viewer.get(path, params={"offset": 2**53}).status_code == 400
    assert viewer.get(path, params={"offset": 2**40}).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("git_url", "https://x:99999999/a/b"),
        ("git_url", "https://\u2100/a/b"),
        ("command", ["a\0b"]),
        ("labels", {"a": "\0"}),
        ("watch_paths", ["\0"]),
        ("skip_phrases", ["a\0b"]),
        ("branch", "\ud800"),
    ],
)
def test_what_no_program_below_could_be_given_is_refused(
    admin: TestClient, secret: SecretStr, field: str, value: object
) -> None:
    answer = admin.patch("/api/apps/web", content=json.dumps({field: value}), headers=JSON)
    assert answer.status_code == 400


# --- Connections -----------------------------------------------------------------------------


def test_a_client_that_disconnects_causes_no_server_error(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(client.app) as port:
        for path in ("/login", WEBHOOK):
            with connected(port) as connection:
                begun = head("POST", path, Content_Length="9", Content_Type="application/json")
                connection.sendall(begun + b"{")
        with connected(port) as connection:
            connection.sendall(head("GET", "/healthz"))
            assert read_answer(connection).status == 200
    assert "Traceback" not in caplog.text


class HurriedHttp(BoundedHttp):
    """Does not wait long for a head."""

    head_within_s = 0.3


@pytest.fixture
def hurried(client: TestClient) -> Iterator[int]:
    """Where a web process listens that does not wait long."""
    with serving(client.app, protocol=HurriedHttp) as port:
        yield port


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_never_ends_is_not_waited_for(hurried: int, begun: bytes) -> None:
    with connected(hurried) as connection:
        connection.sendall(begun)
        answer = read_answer(connection)
    assert answer.status == 408
    assert json.loads(answer.body)["error"]["code"] == "too_slow"


class WatchfulHttp(BoundedHttp):
    """Looks often whether it is read, and says when it is over."""

    look_every_s = 0.5
    is_over = threading.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        super().connection_lost(exc)
        self.is_over.set()


LARGE = 16 * 1024 * 1024  # bytes: more than the kernel keeps for anybody


class PatientHttp(WatchfulHttp):
    """Looks less often: between two looks even a machine that stalls has read something."""

    look_every_s = 2.0


@pytest.fixture
def watchful() -> Iterator[int]:
    """Where somebody listens who gives much, and soon sees that nobody takes it."""
    WatchfulHttp.is_over.clear()
    with serving(Response(b"x" * LARGE), protocol=WatchfulHttp) as port:
        yield port


@pytest.mark.parametrize("then", ["", "close"])
def test_a_client_that_does_not_read_is_disconnected(watchful: int, then: str) -> None:
    with connected(watchful) as connection:
        connection.sendall(head("GET", "/", **({"Connection": then} if then else {})))
        assert WatchfulHttp.is_over.wait(60), "nobody cut it off"
        read = 0
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                read += len(piece)
        assert read < LARGE


def test_a_disconnected_pipelining_client_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    WatchfulHttp.is_over.clear()
    with serving(Response(b"x" * LARGE), protocol=WatchfulHttp) as port, connected(port) as one:
        one.sendall(head("GET", "/") * 5)
        assert WatchfulHttp.is_over.wait(60), "nobody cut it off"
    assert "Exception in ASGI application" not in caplog.text


def test_a_client_that_reads_slowly_gets_the_whole_answer() -> None:
    large = Response(b"x" * LARGE)
    with serving(large, protocol=PatientHttp) as port, connected(port) as connection:
        connection.sendall(head("GET", "/", Connection="close"))
        read, slow_until = 0, time.monotonic() + 3 * PatientHttp.look_every_s
        while piece := connection.recv(65536):
            read += len(piece)
            if time.monotonic() < slow_until:
                time.sleep(0.02)
    assert read > LARGE


def test_a_second_unfinished_head_on_a_connection_is_not_waited_for_either(
    hurried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HurriedHttp, "head_within_s", 60)
    with connected(hurried) as connection:
        connection.sendall(head("GET", "/healthz"))
        assert read_answer(connection).status == 200
        monkeypatch.setattr(HurriedHttp, "head_within_s", 0.3)
        connection.sendall(b"GET /healthz")
        assert read_answer(connection).status == 408


# --- Anything at all -------------------------------------------------------------------------

HEADER_NAMES = (
    *("authorization", "cookie", "host", "origin", "referer", "accept", "range", "last-event-id"),
    *("content-type", "x-forwarded-for", "x-csrf-token", "sec-fetch-site", "content-length"),
)
HEADERS = st.dictionaries(
    st.sampled_from(HEADER_NAMES), st.text(st.characters(codec="utf-8"), max_size=30)
)
TARGETS = st.sampled_from(
    (
        *("/", "/login", "/audit", "/deliveries", "/apps/web", "/deployments/1", "/static/x"),
        *("/deployments/1/lines", "/favicon/good.svg", "/healthz/", "/metrics", WEBHOOK),
        *("/api/apps", "/api/audit", "/api/nothing", "/api/deployments/1/logs"),
        "/api/deployments/1/events",
    )
)
QUERIES = st.dictionaries(
    st.sampled_from(
        ["before", "since", "until", "text", "first", "most", "tail", "offset", "next"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=12),
    max_size=3,
).map(lambda fields: "&".join(f"{name}={value}" for name, value in fields.items()))


def _is_an_answer(answer: Answered) -> bool:
    return 200 <= answer.status < 500 and b"Traceback" not in answer.body


@SOME
@given(st.sampled_from(["GET", "POST", "HEAD", "PUT"]), TARGETS, HEADERS, QUERIES, st.binary())
def test_any_request_of_anybody_gets_an_answer(
    client: TestClient,
    method: str,
    path: str,
    headers: dict[str, str],
    query: str,
    body: bytes,
) -> None:
    assert _is_an_answer(ask(client, Asked(method, path, headers, query, body)))


@SOME
@given(TARGETS, HEADERS, QUERIES)
def test_any_request_of_an_admin_gets_an_answer(
    client: TestClient, admin: TestClient, path: str, headers: dict[str, str], query: str
) -> None:
    known = {**headers, "authorization": admin.headers["authorization"]}
    assert _is_an_answer(ask(client, Asked("GET", path, known, query)))


@SOME
@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]",:\\ud80e1-. '), max_size=40))
def test_any_body_is_storable_json_or_refused(raw: bytes | str) -> None:
    try:
        found = strict_json(raw if isinstance(raw, bytes) else raw.encode())
        ensure_storable(found, most_names=3)
    except ValueError:
        return
    str(found).encode()


@SOME
@given(st.text(), st.sampled_from(["", "/", "//", "/\\", "http://", "/login"]))
def test_whatever_is_asked_for_a_login_leads_to_a_page_of_ours(text: str, begin: str) -> None:
    found = safe_next(begin + text)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert host_of(found) == ""
    assert isinstance(host_of(begin + text), str)
