"""/api/apps/{app}/container and /logs: what the watcher says, and what when it is silent."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partialmethod
from typing import Any

import pytest
from httpx2 import Response
from redis import Redis
from starlette.testclient import TestClient

from jobs.processes.bus import Bus, Question
from receiver.app import create_app
from tests.builders import WebRuntime, make_app, make_live

CONTAINER, LOGS = "/api/apps/web/container", "/api/apps/web/logs"
RUNNING = {
    "id": "c" * 64,
    "state": "running",
    "reason": "",
    "since": "2026-11-23T17:00:00.123456789Z",
    "exit_code": None,
    "out_of_memory": False,
    "restarts": 2,
    "health": "healthy",
}
LINES = [["2026-11-23T17:00:00.1Z", "listening on 8000"], ["2026-11-23T17:00:00.2Z", "<b>ü</b>"]]
HURRY_S = 0.2
PATIENT_S = 14  # the longest that a connection to Redis waits
ANSWERED_WITHIN_S = 30.0

Watching = Callable[[dict[str, Any]], AbstractContextManager[list[Question]]]


@pytest.fixture(autouse=True)
def web(runtime: WebRuntime) -> None:
    """The app `web`, which is live."""
    make_app(runtime)
    make_live(runtime)


@pytest.fixture
def watching(runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch) -> Watching:
    """Play the watcher, which gives one answer; the questions it was asked come into the list."""
    monkeypatch.setattr(Bus, "ask", partialmethod(Bus.ask, timeout_s=PATIENT_S))

    @contextmanager
    def play(answer: dict[str, Any]) -> Iterator[list[Question]]:
        questions: list[Question] = []

        def answer_one() -> None:
            question = runtime.bus.next_question(timeout_s=PATIENT_S)
            assert question is not None, "nobody asked"
            questions.append(question)
            runtime.bus.answer(question, answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        try:
            yield questions
        finally:
            thread.join(60)

    return play


class HurriedBus(Bus):
    """Does not wait long for the watcher."""

    def ask(self, kind: str, *, timeout_s: float = HURRY_S, **about: Any) -> dict[str, Any]:  # noqa: ANN401
        """Ask the watcher."""
        return super().ask(kind, timeout_s=timeout_s, **about)


@pytest.fixture
def hurried(runtime: WebRuntime, viewer: TestClient) -> Iterator[TestClient]:
    """A program that may read, at a web process that does not wait long."""
    with Redis.from_url(runtime.settings.redis_url) as redis:
        bus = HurriedBus(redis, runtime.identity)
        app = create_app(replace(runtime, bus=bus))
        with TestClient(app, headers=dict(viewer.headers), raise_server_exceptions=False) as client:
            yield client


def error(answer: Response) -> tuple[int, str, str]:
    found = answer.json()["error"]
    return answer.status_code, found["code"], found["message"]


# --- Answers ---------------------------------------------------------------------------------


def test_the_container_is_described_as_the_watcher_sees_it(
    viewer: TestClient, watching: Watching
) -> None:
    with watching(RUNNING) as questions:
        answer = viewer.get(CONTAINER)
    assert (answer.status_code, answer.json()) == (200, RUNNING)
    (question,) = questions
    assert (question.kind, question.about) == ("container", {"app_id": 1})


def test_a_missing_container_is_described_too(viewer: TestClient, watching: Watching) -> None:
    gone = {**RUNNING, "id": None, "state": "missing", "since": None, "health": None}
    with watching({**gone, "reason": "its container does not exist any more"}):
        found = viewer.get(CONTAINER).json()
    assert (found["state"], found["id"]) == ("missing", None)


def test_output_is_plain_text_as_it_was_written(viewer: TestClient, watching: Watching) -> None:
    with watching({"lines": LINES}) as questions:
        answer = viewer.get(LOGS)
    assert answer.text == "listening on 8000\n<b>ü</b>\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert questions[0].about == {"app_id": 1, "tail": 200}


HOSTILE_LINES = {
    "<b>no</b> & 'so' \x1b[1;31merror\x1b[0m": (
        '&lt;b&gt;no&lt;/b&gt; &amp; &#39;so&#39; <span class="bold c1">error</span>'
    ),
    "</pre><script>alert(1)</script>": "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x1b[97;44mbright\x1b[39;49m \x1b[2;3;4mall\x1b[22;23;24m": (
        '<span class="c7 g4">bright</span> <span class="dim ital line">all</span>'
    ),
    '\x1b[31" onclick="x\x1b]8;;javascript:x\x07y': "nclick=&#34;xy",
    "": "",
}


def test_a_page_is_sent_output_as_it_shows_it_and_nothing_of_it_is_markup(
    viewer: TestClient, watching: Watching
) -> None:
    lines = [["2026-11-23T17:00:00.1Z", text] for text in HOSTILE_LINES]
    with watching({"lines": lines}) as questions:
        answer = viewer.get(f"{LOGS}?lines=html")
    assert answer.text == "".join(f"{html}\n" for html in HOSTILE_LINES.values())
    # A browser that opens it by itself makes no page of it.
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert questions[0].about == {"app_id": 1, "tail": 200}


def test_as_many_lines_as_are_asked_for(viewer: TestClient, watching: Watching) -> None:
    with watching({"lines": []}) as questions:
        assert viewer.get(f"{LOGS}?tail=5000").text == ""
    assert questions[0].about["tail"] == 5000


@pytest.mark.parametrize("tail", ["0", "-1", "5001", "all", "1;id", "", "1.5"])
def test_an_invalid_tail_is_400(viewer: TestClient, tail: str) -> None:
    answer = viewer.get(LOGS, params={"tail": tail})
    status, code, message = error(answer)
    assert (status, code) == (400, "invalid")
    assert message.startswith("tail: ")


# --- Silence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CONTAINER, LOGS])
def test_a_silent_watcher_is_503_with_what_to_do(hurried: TestClient, path: str) -> None:
    begun = time.monotonic()
    answer = hurried.get(path)
    assert time.monotonic() - begun < ANSWERED_WITHIN_S
    assert error(answer) == (
        503,
        "queue_unavailable",
        "the watcher does not answer; is `keystone up` running?",
    )


@pytest.mark.parametrize("path", [CONTAINER, LOGS])
def test_a_watcher_that_cannot_reach_docker_is_503_without_its_words(
    viewer: TestClient, watching: Watching, path: str
) -> None:
    with watching({"error": "the Docker Engine refused: /var/run/docker.sock"}):
        status, code, message = error(viewer.get(path))
    assert (status, code) == (503, "docker_unavailable")
    assert "keystone doctor" in message
    assert "docker.sock" not in message


def test_an_app_that_was_never_live_has_no_output_and_nobody_is_asked(
    hurried: TestClient, runtime: WebRuntime
) -> None:
    make_app(runtime, name="api")
    answer = hurried.get("/api/apps/api/logs")
    assert error(answer) == (404, "not_found", "api has no live container; deploy it first")
    assert runtime.bus.next_question(timeout_s=0.01) is None


@pytest.mark.parametrize("path", ["container", "logs"])
def test_an_app_that_does_not_exist_is_404(hurried: TestClient, path: str) -> None:
    assert hurried.get(f"/api/apps/api/{path}").status_code == 404
