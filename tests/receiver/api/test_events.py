"""/api/deployments/{id}/events: a deployment as it happens."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count

import httpx2
import pytest
from starlette.testclient import TestClient

from jobs.errors import NotFoundError
from jobs.reads.apps import find_app
from jobs.reads.log_outline import Outlines
from jobs.records.apps import remove_app
from jobs.records.tokens import revoke_api_token
from jobs.records.watched import keep_vitals
from jobs.states import DeploymentState, Role, StepName, StepState
from jobs.storage.models import Step, Vitals
from receiver.api import events as served
from receiver.app import create_app
from receiver.follow_changes import Changes
from receiver.follow_deployment import LOOKS_A_QUEUE_LOOK, QUIET_LOOKS, Tail
from tests.build_events import cached, named, output
from tests.builders import (
    TESTER,
    WebRuntime,
    make_app,
    make_deployment,
    make_token,
    set_state,
    write_log,
)
from tests.receiver.live import serving

DONE = DeploymentState.SUCCESS
EYES = "eyes"


@dataclass(frozen=True)
class Event:
    """One event as a browser sees it."""

    name: str
    data: str
    id: str


Listen = Callable[[str], AbstractContextManager[Iterator[Event]]]


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Read a stream as the specification says; comments are left out."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        if not line and "event" in fields:
            data = "\n".join(fields.get("data", []))
            yield Event(fields["event"][0], data, fields.get("id", [""])[0])
        if not line:
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)


def said(found: list[Event]) -> list[str]:
    """Give the lines that were sent, without time and step."""
    lines = [line for event in found if event.name == "log" for line in event.data.split("\n")]
    return [line.partition(" | ")[2] for line in lines]


@pytest.fixture
def deployment(runtime: WebRuntime) -> int:
    """The id of a running deployment."""
    make_app(runtime)
    return make_deployment(runtime, state=DeploymentState.RUNNING).id or 0


@pytest.fixture
def listen(runtime: WebRuntime) -> Iterator[Listen]:
    """Listens to a stream of a running server, as whoever has the token `eyes`."""
    token = make_token(runtime, name=EYES, role=Role.VIEWER)
    headers = {"Authorization": f"Bearer {token}"}
    with serving(create_app(runtime)) as port:

        @contextmanager
        def listen(address: str) -> Iterator[Iterator[Event]]:
            url = f"http://127.0.0.1:{port}{address}"
            with httpx2.stream("GET", url, headers=headers, timeout=30) as answer:
                yield events(answer.iter_lines())

        yield listen


def follow(client: TestClient, deployment: int, **headers: str) -> list[Event]:
    """Follow a deployment that is over, to the end of the stream."""
    answer = client.get(f"/api/deployments/{deployment}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(events(iter(answer.text.splitlines())))


def test_the_stream_of_an_ended_deployment_sends_everything_and_ends(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    path = write_log(runtime, deployment, ["one", "two"])
    set_state(runtime, deployment, DONE)
    found = follow(viewer, deployment)
    assert [event.name for event in found] == ["log", "state"]
    assert said(found) == ["one", "two"]
    assert found[0].id == str(path.stat().st_size)
    assert json.loads(found[1].data)["state"] == "success"


def test_a_reconnecting_client_continues_where_the_stream_broke(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    offset = write_log(runtime, deployment, ["one"]).stat().st_size
    write_log(runtime, deployment, ["two"])
    set_state(runtime, deployment, DONE)
    assert said(follow(viewer, deployment, **{"Last-Event-ID": str(offset)})) == ["two"]


def test_a_client_that_has_seen_everything_is_told_to_stop(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    end = write_log(runtime, deployment, ["one"]).stat().st_size
    set_state(runtime, deployment, DONE)
    headers = {"Last-Event-ID": str(end)}
    answer = viewer.get(f"/api/deployments/{deployment}/events", headers=headers)
    assert answer.status_code == 204


@pytest.mark.parametrize("last", ["", "x", "-5", "9" * 40, "\u0661"])
def test_a_last_event_that_never_was_means_the_beginning(
    viewer: TestClient, runtime: WebRuntime, deployment: int, last: str
) -> None:
    write_log(runtime, deployment, ["one"])
    set_state(runtime, deployment, DONE)
    raw = {b"Last-Event-ID": last.encode()}
    answer = viewer.get(f"/api/deployments/{deployment}/events", headers=raw)
    assert "build | one" in answer.text


def test_lines_and_changes_arrive_while_they_happen(
    runtime: WebRuntime, listen: Listen, deployment: int
) -> None:
    found: list[Event] = []
    with listen(f"/api/deployments/{deployment}/events") as stream:
        found.append(next(stream))  # nothing is written yet, so this is the state
        write_log(runtime, deployment, ["one"])
        found.append(next(stream))
        write_log(runtime, deployment, ["two"])
        set_state(runtime, deployment, DONE)
        found.extend(stream)
    assert found[0].name == "state"
    assert said(found) == ["one", "two"]
    assert json.loads(found[-1].data)["state"] == "success"


def test_a_revoked_token_hears_no_more(
    runtime: WebRuntime, listen: Listen, deployment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "ASK_AGAIN_S", 0)
    with listen(f"/api/deployments/{deployment}/events") as stream:
        assert next(stream).name == "state"
        with runtime.database.writing() as session:
            revoke_api_token(session, EYES, TESTER)
        write_log(runtime, deployment, ["not for everybody"])
        assert list(stream) == []


def test_words_after_the_end_are_still_passed_on(
    viewer: TestClient, runtime: WebRuntime, deployment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = count(1), Tail.look

    def look_after_a_word(tail: Tail) -> bool:
        if next(looks) == QUIET_LOOKS:  # at the next one it would have been quiet for long enough
            write_log(runtime, deployment, ["the old one has stopped"])
        return look(tail)

    monkeypatch.setattr(Tail, "look", look_after_a_word)
    set_state(runtime, deployment, DONE)
    assert said(follow(viewer, deployment)) == ["the old one has stopped"]


def test_the_stream_does_not_end_while_a_step_is_open(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    set_state(runtime, deployment, DONE)
    step = Step(deployment_id=deployment, name=StepName.RETIRE, state=StepState.RUNNING)
    with runtime.database.writing() as session:
        session.add(step)

    def end_step() -> None:
        with runtime.database.writing() as session:
            row = session.get_one(Step, step.id)
            row.state, row.ended_at = StepState.SUCCESS, row.started_at

    late = threading.Timer(2, end_step)
    began = time.monotonic()
    late.start()
    found = follow(viewer, deployment)
    late.join()
    assert time.monotonic() - began > 2
    assert json.loads(found[-1].data)["steps"][0]["state"] == "success"


def test_a_poll_without_changes_sends_nothing(runtime: WebRuntime, deployment: int) -> None:
    write_log(runtime, deployment, ["one"])
    tail = Tail(runtime, Outlines(), deployment)
    assert tail.look()
    assert not tail.look()
    write_log(runtime, deployment, ["two"])
    assert tail.look()


def test_news_of_what_a_queued_deployment_waits_for_are_sent(runtime: WebRuntime) -> None:
    make_app(runtime)
    tail = Tail(runtime, Outlines(), make_deployment(runtime).id or 0)
    assert tail.look()
    assert not any(tail.look() for _ in range(2 * LOOKS_A_QUEUE_LOOK))
    with runtime.database.writing() as session:
        keep_vitals(session, Vitals(workers=2, disk_free=1, disk_total=1, problems={}))
    assert any(tail.look() for _ in range(LOOKS_A_QUEUE_LOOK))
    assert b"a worker takes it in a moment" in tail.state


def test_a_removed_app_ends_the_stream(runtime: WebRuntime, deployment: int) -> None:
    tail = Tail(runtime, Outlines(), deployment)
    tail.look()
    set_state(runtime, deployment, DONE)
    with runtime.database.writing() as session:
        remove_app(session, find_app(session, "web"), TESTER)
    with pytest.raises(NotFoundError):
        tail.look()


def test_a_page_is_sent_lines_as_it_shows_them_and_the_builds_steps(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    write_log(
        runtime,
        deployment,
        [named(1, "[1/2] RUN <make>"), output(1, "\x1b[31mred\x1b[0m"), cached(1)],
    )
    set_state(runtime, deployment, DONE)
    answer = viewer.get(f"/api/deployments/{deployment}/events?lines=html")
    lines, build, _ = events(iter(answer.text.splitlines()))
    assert [line.split(">")[0] for line in lines.data.split("\n")] == [
        '<div id="L1" data-step="Build" class="named"',
        '<div id="L2"',
        '<div id="L3" class="cached"',
    ]
    assert '<span class="c1">red</span>' in lines.data
    assert "[1/2] RUN &lt;make&gt;" in build.data
    assert "1 of 1 cached" in build.data


def test_lines_keep_their_numbers_wherever_a_page_goes_on(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, (f"line {n}" for n in range(1, 1001)))
    offset = write_log(runtime, deployment, []).stat().st_size
    write_log(runtime, deployment, ["the last"])
    set_state(runtime, deployment, DONE)
    answer = viewer.get(f"/api/deployments/{deployment}/events?lines=html&offset={offset}")
    line = next(events(iter(answer.text.splitlines()))).data
    assert line.startswith('<div id="L1001"><a href="#L1001">1001</a>')


def test_many_followers_cause_one_poll(runtime: WebRuntime, deployment: int) -> None:
    looks = 0

    class Counted(Tail):
        def look(self) -> bool:
            nonlocal looks
            looks += 1
            return super().look()

    async def watch(tail: Tail) -> None:
        async with tail:
            await tail.news(await tail.news(-1, within_s=5), within_s=0.5)

    async def watch_all() -> None:
        tail = Counted(runtime, Outlines(), deployment)
        await asyncio.gather(*(watch(tail) for _ in range(50)))

    asyncio.run(watch_all())
    assert 1 <= looks < 25  # three, unless the machine is busy; each for itself made 150


def test_pages_are_told_that_something_has_changed(
    runtime: WebRuntime, listen: Listen, deployment: int
) -> None:
    with listen("/api/events") as stream:
        assert next(stream).name == "changed"  # one to begin with
        set_state(runtime, deployment, DONE)
        assert next(stream).name == "changed"


def test_invisible_changes_send_no_event(runtime: WebRuntime, deployment: int) -> None:
    changes = Changes(runtime.database)
    assert changes.look()
    assert not changes.look()
    make_deployment(runtime)
    assert changes.look()


def test_a_new_follower_wakes_the_waiting_ones(
    runtime: WebRuntime, listen: Listen, deployment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "receiver.follow_deployment.LOOK_S", 60
    )  # nobody but the one who comes looks in time
    address = f"/api/deployments/{deployment}/events"
    with listen(address) as waiting:
        assert next(waiting).name == "state"
        write_log(runtime, deployment, ["one"])
        begun = time.monotonic()
        with listen(address):
            assert said([next(waiting)]) == ["one"]
        assert time.monotonic() - begun < 40


@pytest.mark.parametrize("address", ["/api/events", "/api/deployments/{}/events"])
def test_a_quiet_stream_says_that_the_server_is_there(
    listen: Listen, deployment: int, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.PING_S == 10
    monkeypatch.setattr(served, "PING_S", 0.2)
    with listen(address.format(deployment)) as stream:
        pings = [next(event for event in stream if event.name == "ping") for _ in range(2)]
    assert pings == [Event("ping", "alive", "")] * 2


def test_the_ping_is_described(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    for address in ("/api/events", "/api/deployments/{id}/events"):
        assert "`ping`" in paths[address]["get"]["description"]
