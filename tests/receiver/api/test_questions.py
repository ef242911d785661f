"""Questions to the watcher: a few at once, a few that wait, and none in anybody else's threads."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from itertools import islice
from typing import Any

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter

from jobs.errors import DockerError
from jobs.processes.bus import Bus, connect
from jobs.states import Role
from receiver.api.questions import MOST_AT_ONCE, MOST_WAITING, Questions
from receiver.app import create_app
from receiver.errors import BusyError
from tests.builders import WebRuntime, make_app, make_live, make_token
from tests.receiver.live import Answer, connected, head, read_answer, serving

MANY = 60  # more than there are shared threads
MOST = MOST_AT_ONCE + MOST_WAITING
DELIVERY = head("POST", "/webhooks/github", Content_Type="application/json", Content_Length="0")


def test_a_silent_watcher_takes_no_shared_threads_and_sends_others_away() -> None:
    is_over = threading.Event()
    answers: list[dict[str, Any]] = []

    def ask_the_silent() -> dict[str, Any]:
        assert is_over.wait(60)
        return {"state": "running"}

    async def ask(questions: Questions) -> None:
        answers.append(await questions.ask(ask_the_silent))

    async def play() -> None:
        questions = Questions()
        async with anyio.create_task_group() as group:
            for _ in range(MOST_AT_ONCE + MOST_WAITING):
                group.start_soon(ask, questions)
            await anyio.wait_all_tasks_blocked()
            try:
                with pytest.raises(BusyError, match="too many are asking"):
                    await questions.ask(ask_the_silent)
                assert current_default_thread_limiter().borrowed_tokens == 0
            finally:
                is_over.set()

    anyio.run(play)
    assert answers == [{"state": "running"}] * (MOST_AT_ONCE + MOST_WAITING)


class SilentBus(Bus):
    """Lets whoever asks wait, and has nothing to say in the end."""

    is_over = threading.Event()

    def ask(self, kind: str, **_about: Any) -> dict[str, Any]:  # noqa: ANN401
        """Ask nobody."""
        self.is_over.wait(60)
        raise DockerError(kind)


def answer_to(port: int, request: bytes) -> Answer:
    """Ask over a connection of its own."""
    with connected(port) as connection:
        connection.sendall(request)
        return read_answer(connection)


@pytest.mark.parametrize("asked", ["GET container", "GET logs", "POST hook"])
def test_requests_to_a_silent_watcher_delay_no_delivery(runtime: WebRuntime, asked: str) -> None:
    make_app(runtime)
    make_live(runtime)
    method, _, what = asked.partition(" ")
    token = make_token(runtime, name="ada", role=Role.ADMIN)
    request = head(method, f"/api/apps/web/{what}", Authorization=f"Bearer {token}")
    bus = SilentBus(connect(runtime.settings.redis_url), runtime.identity)
    bus.is_over.clear()
    with serving(create_app(replace(runtime, bus=bus))) as port, ThreadPoolExecutor(MANY) as pool:
        answers = [pool.submit(answer_to, port, request) for _ in range(MANY)]
        early = [each.result() for each in islice(as_completed(answers), MANY - MOST)]
        assert answer_to(port, DELIVERY).status == 401
        assert sum(each.done() for each in answers) == len(early)
        bus.is_over.set()
    assert all(b'"busy"' in answer.body and "retry-after: 5" in answer.head for answer in early)
    codes = Counter(b"docker_unavailable" in each.result().body for each in answers)
    assert codes == {True: MOST, False: MANY - MOST}
