"""/api/deployments/{id}/logs: whole lines, from where one left off."""

from pathlib import Path

import anyio
import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Scope

from jobs.storage.deployment_log import log_path
from receiver.api.logs import LogAsFound
from tests.build_events import done, named, output
from tests.builders import WebRuntime, make_app, make_deployment, write_log


@pytest.fixture
def deployment(runtime: WebRuntime) -> int:
    """The id of a deployment without a log."""
    make_app(runtime)
    return make_deployment(runtime).id or 0


def test_a_log_is_plain_text_and_says_where_to_go_on(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    path = write_log(runtime, deployment, ["one", "two <b>"])
    answer = viewer.get(f"/api/deployments/{deployment}/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert [line.partition(" | ")[2] for line in answer.text.splitlines()] == ["one", "two <b>"]
    assert answer.headers["x-next-offset"] == str(path.stat().st_size)


def test_reading_goes_on_where_it_stopped(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, ["one"])
    offset = viewer.get(f"/api/deployments/{deployment}/logs").headers["x-next-offset"]
    write_log(runtime, deployment, ["two"])
    answer = viewer.get(f"/api/deployments/{deployment}/logs?offset={offset}")
    assert answer.text.endswith("build | two\n")
    assert "one" not in answer.text


def test_a_builders_events_are_shown_as_text_whole_in_parts_and_in_ranges(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, [named(3, "[2/3] RUN make"), output(3, "<b>"), done(3, 0.1)])
    address = f"/api/deployments/{deployment}/logs"
    whole = viewer.get(address)
    lines = [line.partition(" ")[2] for line in whole.text.splitlines()]
    assert lines == ["build | #3 [2/3] RUN make", "build | #3 | <b>", "build | #3 DONE 0.1s"]
    assert whole.headers["content-length"] == whole.headers["x-next-offset"]
    assert viewer.get(f"{address}?offset=0").text == whole.text
    part = viewer.get(address, headers={"Range": "bytes=30-99"})
    assert (part.status_code, part.text) == (206, whole.text[30:100])
    # Several ranges at once are not given: the whole log is.
    both = viewer.get(address, headers={"Range": "bytes=0-1,5-7"})
    assert (both.status_code, both.text) == (200, whole.text)
    past = viewer.get(address, headers={"Range": "bytes=5000-"})
    assert (past.status_code, "build" in past.text) == (416, False)


@pytest.mark.parametrize("asked", [[], [(b"range", b"bytes=2-")]])
def test_no_more_is_sent_than_is_declared_whatever_is_written_meanwhile(
    tmp_path: Path, asked: list[tuple[bytes, bytes]]
) -> None:
    path = tmp_path / "7.log"
    path.write_text("one\ntwo\n")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        with path.open("a") as log:
            log.write("three\n")

    async def receive() -> Message:
        await anyio.sleep_forever()
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http", "method": "GET", "headers": asked}
    found = LogAsFound(path, stat_result=path.stat())
    anyio.run(found, scope, receive, send)
    start, *pieces = sent
    body = b"".join(piece["body"] for piece in pieces)
    assert body == (b"e\ntwo\n" if asked else b"one\ntwo\n")
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode()
    assert [piece.get("more_body", False) for piece in pieces][-1] is False


def test_a_line_that_is_being_written_waits(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    path = write_log(runtime, deployment, ["one"])
    size = path.stat().st_size
    with path.open("a") as file:
        file.write("half a li")
    answer = viewer.get(f"/api/deployments/{deployment}/logs?offset={size}")
    assert (answer.text, answer.headers["x-next-offset"]) == ("", str(size))


def test_a_long_log_comes_in_parts(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    path = write_log(runtime, deployment, ("x" * 1000 for _ in range(2500)))
    text, offset = "", 0
    for _ in range(5):
        answer = viewer.get(f"/api/deployments/{deployment}/logs?offset={offset}")
        assert len(answer.content) <= 1024 * 1024
        text, offset = text + answer.text, int(answer.headers["x-next-offset"])
    assert text == path.read_text()


def test_without_a_log_the_reason_is_told(viewer: TestClient, deployment: int) -> None:
    answer = viewer.get(f"/api/deployments/{deployment}/logs")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"deployment {deployment} has no log: it is queued"


@pytest.mark.parametrize("offset", ["-1", "x", "9" * 30, "1.5"])
def test_an_offset_that_makes_no_sense_is_400(
    viewer: TestClient, deployment: int, offset: str
) -> None:
    answer = viewer.get(f"/api/deployments/{deployment}/logs?offset={offset}")
    assert answer.status_code == 400


def test_an_offset_past_the_end_gives_nothing(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    write_log(runtime, deployment, ["one"])
    answer = viewer.get(f"/api/deployments/{deployment}/logs?offset=100000")
    assert (answer.status_code, answer.text) == (200, "")


def test_a_log_that_is_a_folder_is_no_crash_for_others(
    viewer: TestClient, runtime: WebRuntime, deployment: int
) -> None:
    other = make_deployment(runtime).id or 0
    write_log(runtime, other, ["fine"])
    log_path(runtime.settings.logs_dir, deployment).mkdir(parents=True)
    assert viewer.get(f"/api/deployments/{deployment}/logs").status_code == 404
    assert viewer.get(f"/api/deployments/{other}/logs").status_code == 200
