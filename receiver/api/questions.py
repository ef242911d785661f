"""Asking the watcher, who may be slow or gone, in a few threads kept for that."""

from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, to_thread

from receiver.errors import BusyError

MOST_AT_ONCE = 8
MOST_WAITING = 16


class Questions:
    """Those that are being asked now, and a few that wait; whoever else comes is sent away.

    Not the shared thread pool: a watcher that is silent must not use up its threads.
    """

    def __init__(self) -> None:
        self._turn = CapacityLimiter(MOST_AT_ONCE)
        self._under_way = 0  # counted here: who comes at once joins the limiter's queue later

    async def ask(self, question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Ask a question when it is its turn, and give the answer.

        Raises:
            BusyError: too many wait already.
        """
        if self._under_way >= MOST_AT_ONCE + MOST_WAITING:
            raise BusyError("too many are asking the watcher at once; try again")
        self._under_way += 1
        try:
            return await to_thread.run_sync(question, limiter=self._turn)
        finally:
            self._under_way -= 1
