"""A refused delivery leaves a trace: counted, written down at our pace, shown to people."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from jobs.records.refusals import Refused
from jobs.states import Refusal
from jobs.storage.database import Database
from jobs.storage.models import RefusedDelivery, now
from receiver.app import create_app
from receiver.errors import BusyError, answer_error
from receiver.limits import MIB, DeliverySlots
from receiver.refusals import (
    MOST_KINDS,
    MOST_KINDS_OF_ADDRESS,
    TOLD_EVERY_S,
    NoteRefusals,
    Refusals,
)
from tests.builders import (
    SignedRequest,
    WebRuntime,
    make_app,
    payload,
    signed,
    signed_push,
    webhook_secret,
)
from tests.receiver.live import connected, head, read_answer, serving

WEBHOOK = "/webhooks/github"
OTHERS = SecretStr("the secret of somebody else")
SIGNATURE = "X-Hub-Signature-256"
JSON = "application/json"
WITHIN_S = 60
Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def secret(runtime: WebRuntime) -> SecretStr:
    """The webhook secret of octo/web, which the app `web` deploys."""
    return webhook_secret(make_app(runtime))


@pytest.fixture
def written(client: TestClient, viewer: TestClient) -> Written:
    """Give what is on the list once all that has gathered is written down."""

    def read() -> list[dict[str, Any]]:
        app = client.app
        assert isinstance(app, Starlette)
        asyncio.run(app.state.refusals.write_down())
        items: list[dict[str, Any]] = viewer.get("/api/deliveries/refused").json()["items"]
        return items

    return read


def post(client: TestClient, request: SignedRequest, **headers: str | None) -> int:
    """Send a delivery with other headers; None takes one off."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    kept = {**request.headers, **changed}
    given = {name: value for name, value in kept.items() if value is not None}
    return client.post(WEBHOOK, content=request.body, headers=given).status_code


@pytest.mark.usefixtures("secret")
class TestReasons:
    @pytest.mark.parametrize(
        ("headers", "status", "reason"),
        [
            ({}, 401, "wrong_signature"),
            ({"X_Hub_Signature_256": "sha1=0"}, 401, "malformed_signature"),
            ({"Content_Type": "text/plain"}, 415, "wrong_type"),
            ({"Content_Encoding": "gzip"}, 415, "wrong_type"),
            ({"X_Long": "x" * 40_000}, 431, "too_large"),
            ({"Content_Length": str(26 * MIB)}, 413, "too_large"),
        ],
    )
    def test_each_is_told_with_the_repository_it_was_sent_for(
        self,
        client: TestClient,
        written: Written,
        headers: dict[str, str],
        status: int,
        reason: str,
    ) -> None:
        assert post(client, signed_push(OTHERS), **headers) == status
        (found,) = written()
        assert (found["reason"], found["count"]) == (reason, 1)
        assert found["address"] == "testclient"
        if status == 401:
            assert (found["repository"], found["claimed"]) == ("octo/web", "octo/web")

    def test_without_a_signature(self, client: TestClient, written: Written) -> None:
        request = signed_push(OTHERS)
        unsigned = {name: value for name, value in request.headers.items() if name != SIGNATURE}
        assert post(client, SignedRequest(request.body, unsigned)) == 401
        (found,) = written()
        assert found["reason"] == "missing_signature"

    def test_of_an_unknown_repository(self, client: TestClient, written: Written) -> None:
        other = payload("push", repository__id=4711, repository__full_name="octo/wob")
        for _ in range(3):
            assert post(client, signed(OTHERS, other)) == 401
        (found,) = written()
        assert (found["reason"], found["count"]) == ("unknown_repository", 3)
        assert (found["repository"], found["claimed"]) == (None, "octo/wob")

    def test_signed_but_unusable(
        self, client: TestClient, written: Written, secret: SecretStr
    ) -> None:
        assert post(client, signed_push(secret, after="HEAD")) == 400
        (found,) = written()
        assert (found["reason"], found["repository"]) == ("invalid_payload", "octo/web")

    def test_the_headers_name_the_repository_of_a_body_that_is_not_read(
        self, client: TestClient, written: Written, runtime: WebRuntime
    ) -> None:
        with runtime.database.writing() as session:
            session.connection().exec_driver_sql("UPDATE repositories SET github_id = 186853002")
        target = {
            "X_GitHub_Hook_Installation_Target_Type": "repository",
            "X_GitHub_Hook_Installation_Target_ID": "186853002",
        }
        assert post(client, signed_push(OTHERS), Content_Encoding="gzip", **target) == 415
        (found,) = written()
        assert found["repository"] == "octo/web"

    def test_what_was_taken_is_not_told(
        self, client: TestClient, written: Written, secret: SecretStr
    ) -> None:
        assert post(client, signed_push(secret)) == 202
        assert client.get(WEBHOOK).status_code == 405
        assert client.post("/login", json={}).status_code == 400
        assert written() == []

    def test_hostile_claims_are_not_repeated(self, client: TestClient, written: Written) -> None:
        for name in ("<script>/x", "octo/\u202eweb", "a/b\r\nc", "'; --/x"):
            post(client, signed(OTHERS, payload("push", repository__full_name=name)))
        (found,) = written()
        assert (found["claimed"], found["count"]) == ("", 4)


@pytest.mark.usefixtures("secret")
def test_they_are_counted_for_prometheus(
    client: TestClient, viewer: TestClient, written: Written
) -> None:
    post(client, signed_push(OTHERS))
    post(client, signed_push(OTHERS))
    written()
    text = viewer.get("/metrics").text
    assert 'keystone_deliveries_refused_total{reason="wrong_signature"} 2.0' in text
    assert 'keystone_deliveries_refused_total{reason="busy"} 0.0' in text


class TestOnTheWire:
    @pytest.fixture
    def found(self, runtime: WebRuntime) -> Iterator[tuple[int, Callable[[], list[str]]]]:
        """Where the server listens, and the reasons that are on its list."""

        def reasons() -> list[str]:
            with runtime.database.reading() as session:
                return sorted(session.exec(select(RefusedDelivery.reason)))

        with serving(create_app(runtime)) as port:
            yield port, reasons

    def test_it_is_on_the_list_within_seconds(
        self, found: tuple[int, Callable[[], list[str]]]
    ) -> None:
        port, reasons = found
        body = json.dumps(payload("push")).encode()
        given = {"Content_Type": JSON, "Content_Length": str(len(body))}
        signature = {"X_Hub_Signature_256": "sha256=" + "0" * 64}
        with connected(port) as wrong, connected(port) as cut:
            wrong.sendall(head("POST", f"{WEBHOOK}/", **given, **signature) + body)
            assert read_answer(wrong).status == 401
            cut.sendall(head("POST", WEBHOOK, **given, **signature) + body[:10])
        wait_for(lambda: reasons() == ["cut_short", "unknown_repository"])

    @pytest.mark.parametrize("has_come", [True, False])
    def test_a_body_that_is_refused_unread_names_its_repository_if_it_has_come(
        self, runtime: WebRuntime, *, has_come: bool
    ) -> None:
        refusals = Refusals(runtime.database)
        body = json.dumps(payload("push")).encode()
        begin = head("POST", WEBHOOK, Content_Type=JSON, Content_Length=str(len(body)))
        app = NoteRefusals(PlainTextResponse("no", 401), refusals=refusals)
        with serving(app) as port, connected(port) as connection:
            connection.sendall(begin + body * has_come)
            assert read_answer(connection).status == 401
            wait_for(lambda: bool(refusals._tallies))
        ((kind, tally),) = refusals._tallies.items()
        assert kind[2] is Refusal.MISSING_SIGNATURE
        assert tally.claimed == ("octo/web" if has_come else "")

    def test_one_that_makes_way_was_refused_since_there_was_no_room(
        self, runtime: WebRuntime
    ) -> None:
        refusals = Refusals(runtime.database)
        app = NoteRefusals(DeliverySlots(swallow, most_bytes=10), refusals=refusals)
        with serving(app) as port, connected(port) as connection:
            connection.sendall(head("POST", WEBHOOK, Content_Length="11") + b"x" * 11)
            assert read_answer(connection).status == 503
            wait_for(lambda: bool(refusals._tallies))
        assert [reason for _, _, reason in refusals._tallies] == [Refusal.BUSY]


async def swallow(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer 503 when there is no room for it."""
    request = Request(scope, receive)
    try:
        await request.body()
    except BusyError as exc:
        await answer_error(request, exc)(scope, receive, send)


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


# --- In memory -------------------------------------------------------------------------------


def refused(**changes: object) -> Refused:
    fields: dict[str, Any] = {
        "claimed": "octo/web",
        "github_id": None,
        "address": "192.0.2.1",
        "reason": Refusal.WRONG_SIGNATURE,
        "count": 1,
        "first_at": now(),
        "last_at": now(),
    }
    return Refused(**fields | changes)


class TestInMemory:
    def test_a_flood_is_few_kinds_and_no_count_is_lost(self, runtime: WebRuntime) -> None:
        refusals = Refusals(runtime.database)
        for number in range(20_000):
            refusals.note(refused(address=f"10.0.{number // 250}.{number % 250}"))
        assert len(refusals._tallies) == MOST_KINDS + 1
        assert sum(one.count for one in refusals._take()) == 20_000

    def test_an_address_has_few_kinds(self, runtime: WebRuntime) -> None:
        refusals = Refusals(runtime.database)
        refusals._configured = frozenset(f"octo/{number}" for number in range(100))
        for number in range(100):
            refusals.note(refused(claimed=f"octo/{number}"))
        of_one = [address for _, address, _ in refusals._tallies if address]
        assert len(of_one) == MOST_KINDS_OF_ADDRESS

    def test_names_that_nobody_configured_are_one_kind(self, runtime: WebRuntime) -> None:
        refusals = Refusals(runtime.database)
        refusals._configured = frozenset()
        for number in range(1000):
            refusals.note(refused(claimed=f"eve/{number}"))
        ((kind, tally),) = refusals._tallies.items()
        assert kind == ("", "192.0.2.1", Refusal.WRONG_SIGNATURE)
        assert (tally.claimed, tally.count) == ("eve/999", 1000)

    def test_names_are_told_apart_until_it_is_known_which_are_configured(
        self, runtime: WebRuntime
    ) -> None:
        make_app(runtime)
        refusals = Refusals(runtime.database)
        for claimed in ("octo/web", "eve/one", "eve/two"):
            refusals.note(refused(claimed=claimed))
        assert len(refusals._tallies) == 3
        asyncio.run(refusals.write_down())
        for claimed in ("octo/web", "eve/one", "eve/two"):
            refusals.note(refused(claimed=claimed))
        assert len(refusals._tallies) == 2

    def test_what_cannot_be_written_down_stays(self) -> None:
        broken = Database("sqlite:////nowhere/keystone.db")
        refusals = Refusals(broken)
        first = refused(count=7)
        refusals.note(first)
        asyncio.run(refusals.write_down())
        refusals.note(refused(count=2))
        (kept,) = refusals._take()
        assert (kept.count, kept.first_at) == (9, first.first_at)

    def test_the_database_is_written_to_at_our_pace(self, runtime: WebRuntime) -> None:
        refusals = Refusals(runtime.database)
        for _ in range(100):
            refusals.note(refused())
        with runtime.database.reading() as session:
            assert session.exec(select(RefusedDelivery)).all() == []
        asyncio.run(refusals.write_down())
        with runtime.database.reading() as session:
            assert session.exec(select(RefusedDelivery)).one().count == 100

    def test_the_log_tells_of_them_once_a_minute_in_one_line(
        self, runtime: WebRuntime, caplog: pytest.LogCaptureFixture
    ) -> None:
        moment = 0.0
        refusals = Refusals(runtime.database, clock=lambda: moment)
        with caplog.at_level(logging.WARNING, logger="receiver.refusals"):
            for number in range(10):
                refusals.note(refused(address=f"192.0.2.{number}"))
                asyncio.run(refusals.write_down())
                refusals._tell()
            (record,) = caplog.records
            assert record.message == (
                "Deliveries refused: 1; mostly signed with another secret in the name of octo/web, "
                "from 192.0.2.0 (1)"
            )
            moment = TOLD_EVERY_S
            refusals._tell()
            refusals._tell()
        assert len(caplog.records) == 2
        assert caplog.records[1].message.startswith("Deliveries refused: 9; mostly ")
        assert len(caplog.records[1].message) < 800
