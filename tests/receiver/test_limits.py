"""How much a request may ask of us, over real sockets where it matters."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from receiver.app import create_app
from receiver.errors import RequestError, answer_error
from receiver.limits import MIB, BodyLimits, DeliverySlots, Slashes
from tests.builders import WebRuntime, make_app, signed_push, webhook_secret
from tests.receiver.live import connected, head, read_answer, send_until_refused, serving

WEBHOOK = "/webhooks/github"
JSON = "application/json"
SIGNATURE = "sha256=" + "0" * 64
PIECE = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@pytest.fixture
def port(runtime: WebRuntime) -> Iterator[int]:
    """Where the whole web process listens."""
    with serving(create_app(runtime)) as port:
        yield port


async def echo_size(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and say how long it was, as an endpoint below the limits would."""
    request = Request(scope, receive)
    try:
        response = PlainTextResponse(str(len(await request.body())))
    except RequestError as exc:
        await answer_error(request, exc)(scope, receive, send)
    else:
        await response(scope, receive, send)


# --- Bodies ----------------------------------------------------------------------------------


def test_a_declared_body_that_is_too_large_is_refused_before_it_is_sent(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(
            head("POST", WEBHOOK, Content_Type=JSON, Content_Length=str(25 * MIB + 1))
        )
        answer = read_answer(connection)
    assert answer.status == 413
    assert b"25 MiB" in answer.body


def test_a_streamed_body_is_refused_when_it_becomes_too_large(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(
            head(
                "POST",
                WEBHOOK,
                Content_Type=JSON,
                Transfer_Encoding="chunked",
                X_Hub_Signature_256=SIGNATURE,
            )
        )
        sent = send_until_refused(connection, PIECE, times=26 * 16)
        answer = read_answer(connection)
    assert answer.status == 413
    assert sent >= 25 * 16 - 16


def test_a_body_of_exactly_the_limit_is_read(port: int) -> None:
    with connected(port) as connection:
        length = str(25 * MIB)
        connection.sendall(head("POST", WEBHOOK, Content_Type=JSON, Content_Length=length))
        connection.sendall(b"x" * 25 * MIB)
        assert read_answer(connection).status == 401


def test_elsewhere_the_limit_is_one_mebibyte(admin: TestClient) -> None:
    answer = admin.post("/api/apps", content=b" " * (MIB + 1), headers={"Content-Type": JSON})
    assert answer.status_code == 413


def test_a_delivery_that_dawdles_is_given_up_after_eight_seconds(port: int) -> None:
    with connected(port) as connection:
        began = time.monotonic()
        signed = {"Content_Type": JSON, "X_Hub_Signature_256": SIGNATURE}
        connection.sendall(head("POST", WEBHOOK, Content_Length="100", **signed))
        connection.sendall(b"{")
        answer = read_answer(connection)
        took = time.monotonic() - began
    assert answer.status == 408
    assert 7 < took < 40


def test_dripping_does_not_buy_time() -> None:
    with serving(BodyLimits(echo_size, deadline_s=1)) as port, connected(port) as connection:
        connection.sendall(head("POST", "/", Content_Length="1000"))
        for _ in range(30):
            if send_until_refused(connection, b"x", times=1) == 0:
                break
            time.sleep(0.05)
        assert read_answer(connection).status == 408


def test_a_body_in_time_is_passed_on_whole() -> None:
    with serving(BodyLimits(echo_size, deadline_s=60)) as port, connected(port) as connection:
        connection.sendall(head("POST", "/", Content_Length="10") + b"12345")
        time.sleep(0.1)
        connection.sendall(b"67890")
        assert read_answer(connection).body == b"10"


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip"])
def test_any_content_encoding_is_415(
    client: TestClient, runtime: WebRuntime, encoding: str
) -> None:
    request = signed_push(webhook_secret(make_app(runtime)))
    headers = {**request.headers, "Content-Encoding": encoding}
    assert client.post(WEBHOOK, content=request.body, headers=headers).status_code == 415


# --- Headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{"X-Long": "x" * 33_000}, {f"X-{number}": "x" for number in range(120)}],
)
def test_too_many_or_too_long_headers_are_431(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/healthz", headers=headers).status_code == 431


def test_a_long_address_is_431(client: TestClient) -> None:
    assert client.get("/healthz?" + "x" * 33_000).status_code == 431


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"X-Y: z\r\n" * 8192])
def test_headers_without_an_end_are_cut_off(port: int, piece: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        sent = send_until_refused(connection, piece, times=200)
    assert sent < 200


def test_headers_without_an_end_are_answered_431(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 66_000)
        answer = read_answer(connection)
    assert answer.status == 431
    assert json.loads(answer.body)["error"]["code"] == "headers_too_large"


def test_trailers_without_an_end_are_cut_off(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(head("POST", "/login", Transfer_Encoding="chunked") + b"0\r\n")
        sent = send_until_refused(connection, b"X-Trailer: " + b"x" * 65_536 + b"\r\n", times=200)
    assert sent < 200


def test_many_requests_on_one_connection_are_not_added_up(port: int) -> None:
    with connected(port) as connection:
        for _ in range(50):
            connection.sendall(head("GET", "/healthz", X_Long="x" * 4000))
            assert read_answer(connection).status == 200


# --- Slashes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/apps/", "/api/apps"),
        ("/api/apps/?limit=5", "/api/apps?limit=5"),
        ("//elsewhere.example/", "/elsewhere.example"),
        ("/a//", "/a"),
    ],
)
def test_a_slash_at_the_end_leads_to_the_same_address_here(
    client: TestClient, path: str, target: str
) -> None:
    answer = client.post(f"http://testserver{path}")
    assert (answer.status_code, answer.headers["location"]) == (308, target)


def test_github_which_follows_no_redirect_is_taken_at_an_address_with_a_slash(
    client: TestClient, runtime: WebRuntime
) -> None:
    request = signed_push(webhook_secret(make_app(runtime)))
    for slashes, expected in (("/", 202), ("//", 200)):
        answer = client.post(f"{WEBHOOK}{slashes}", content=request.body, headers=request.headers)
        assert answer.status_code == expected
    assert client.get(f"{WEBHOOK}/").status_code == 308


def test_the_bounds_of_a_delivery_hold_at_an_address_with_a_slash(port: int) -> None:
    with connected(port) as connection:
        length = str(2 * MIB)
        connection.sendall(head("POST", f"{WEBHOOK}/", Content_Type=JSON, Content_Length=length))
        connection.sendall(b"x" * 2 * MIB)
        assert read_answer(connection).status == 401
    slots = Slashes(DeliverySlots(echo_size, most_bytes=10))
    with serving(slots) as small, connected(small) as connection:
        connection.sendall(head("POST", f"{WEBHOOK}/", Content_Length="11") + b"x" * 11)
        assert read_answer(connection).status == 503


# --- Room ------------------------------------------------------------------------------------


def test_one_delivery_too_many_is_503_and_the_place_becomes_free_again() -> None:
    has_place, go_on = threading.Event(), threading.Event()

    async def echo_late(scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = PlainTextResponse("late")
        try:
            await Request(scope, receive).body()
            has_place.set()
            await run_in_threadpool(go_on.wait, 60)
        except RequestError as exc:
            response = answer_error(Request(scope), exc)
        await response(scope, receive, send)

    slots = DeliverySlots(echo_late, most_deliveries=1)
    with serving(slots) as port, connected(port) as first, connected(port) as second:
        first.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
        assert has_place.wait(60)
        second.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
        refused = read_answer(second)
        go_on.set()
        assert read_answer(first).status == 200
        with connected(port) as third:
            third.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
            assert read_answer(third).status == 200
    assert refused.status == 503
    assert "retry-after: 5" in refused.head


def test_strangers_who_send_slowly_take_no_place_from_others() -> None:
    slots = DeliverySlots(echo_size, most_deliveries=1)
    with serving(slots) as port, ExitStack() as slow:
        for _ in range(5):
            stranger = slow.enter_context(connected(port))
            stranger.sendall(head("POST", WEBHOOK, Content_Length="2") + b"1")
        time.sleep(0.3)
        with connected(port) as quick:
            quick.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
            assert read_answer(quick).body == b"1"


def test_one_address_cannot_fill_the_memory_alone() -> None:
    slots = DeliverySlots(echo_size, most_bytes=100, most_bytes_of_one=50)
    with serving(slots) as port, connected(port) as greedy:
        greedy.sendall(head("POST", WEBHOOK, Content_Length="51") + b"x" * 51)
        assert read_answer(greedy).status == 503


def test_bodies_that_fill_the_memory_together_are_503() -> None:
    slots = DeliverySlots(echo_size, most_bytes=100)
    with serving(slots) as port, connected(port) as connection:
        connection.sendall(head("POST", WEBHOOK, Content_Length="101") + b"x" * 101)
        assert read_answer(connection).status == 503
        with connected(port) as another:
            another.sendall(head("POST", WEBHOOK, Content_Length="100") + b"x" * 100)
            assert read_answer(another).body == b"100"


def test_a_large_body_that_has_not_arrived_makes_way_for_a_small_one() -> None:
    slots = DeliverySlots(echo_size, most_bytes=100)
    with serving(slots) as port, connected(port) as slow, connected(port) as quick:
        slow.sendall(head("POST", WEBHOOK, Content_Length="91") + b"x" * 90)
        time.sleep(0.3)
        quick.sendall(head("POST", WEBHOOK, Content_Length="20") + b"x" * 20)
        assert read_answer(quick).body == b"20"
        assert read_answer(slow).status == 503


def test_a_larger_delivery_evicts_no_other() -> None:
    slots = DeliverySlots(echo_size, most_bytes=100)
    with serving(slots) as port, connected(port) as slow, connected(port) as large:
        slow.sendall(head("POST", WEBHOOK, Content_Length="60") + b"x" * 59)
        time.sleep(0.3)
        large.sendall(head("POST", WEBHOOK, Content_Length="60") + b"x" * 60)
        assert read_answer(large).status == 503
        slow.sendall(b"x")
        assert read_answer(slow).body == b"60"


def test_deliveries_in_progress_from_one_address_are_limited() -> None:
    has_place, go_on = threading.Semaphore(0), threading.Event()

    async def echo_late(scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = PlainTextResponse("late")
        try:
            await Request(scope, receive).body()
            has_place.release()
            await run_in_threadpool(go_on.wait, 60)
        except RequestError as exc:
            response = answer_error(Request(scope), exc)
        await response(scope, receive, send)

    slots = DeliverySlots(echo_late, most_deliveries=3, most_deliveries_of_one=1)
    with serving(slots) as port, connected(port) as first, connected(port) as second:
        first.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
        assert has_place.acquire(timeout=60)
        second.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
        assert read_answer(second).status == 503
        with closing(socket.create_connection(("127.0.0.1", port), 60, ("127.0.0.2", 0))) as other:
            other.sendall(head("POST", WEBHOOK, Content_Length="1") + b"1")
            assert has_place.acquire(timeout=60)
            go_on.set()
            assert read_answer(other).status == 200
        assert read_answer(first).status == 200


def test_deliveries_that_dawdle_do_not_keep_small_ones_out(port: int, runtime: WebRuntime) -> None:
    request = signed_push(webhook_secret(make_app(runtime)))
    with connected(port) as slow, connected(port) as quick:
        slow.sendall(head("POST", WEBHOOK, Content_Type=JSON, Content_Length="100"))
        raw = {name.replace("-", "_"): value for name, value in request.headers.items()}
        quick.sendall(head("POST", WEBHOOK, Content_Length=str(len(request.body)), **raw))
        quick.sendall(request.body)
        assert read_answer(quick).status == 202
