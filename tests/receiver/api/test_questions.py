"""Questions to the watcher: a few at once, a few that wait, and none in anybody else's threads."""

import threading
from typing import Any

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter

from receiver.api.questions import MOST_AT_ONCE, MOST_WAITING, Questions
from receiver.errors import BusyError


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
