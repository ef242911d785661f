"""Asks the watcher, which may be slow or not running, in a few threads of its own."""

from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, to_thread

from receiver.errors import BusyError

MOST_AT_ONCE = 8
MOST_WAITING = 16


class Questions:
    """Limits the questions to the watcher: a few are asked at once, a few wait, others are refused.

    They do not use the shared thread pool, so that a silent watcher cannot use up its threads.
    """

    def __init__(self) -> None:
        self._turn = CapacityLimiter(MOST_AT_ONCE)
        # Counted here, because simultaneous callers join the limiter's queue only later.
        self._under_way = 0

    async def ask(self, question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Ask a question once a thread is free, and give the answer.

        Raises:
            BusyError: too many questions are waiting already.
        """
        if self._under_way >= MOST_AT_ONCE + MOST_WAITING:
            raise BusyError("too many are asking the watcher at once; try again")
        self._under_way += 1
        try:
            return await to_thread.run_sync(question, limiter=self._turn)
        finally:
            self._under_way -= 1
