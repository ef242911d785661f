"""Wakes up workers after an answer was sent, so that Redis never delays an answer."""

import asyncio
from collections.abc import Iterable

from anyio import CapacityLimiter, to_thread

from jobs.processes.queue import WorkQueue


class Waker:
    """Hands deployments to the queue in one thread of its own, in batches.

    Nothing is lost if that fails or the process dies: the reconciler repeats every wake-up.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._pending: set[int] = set()
        self._turn = asyncio.Lock()

    async def wake(self, deployment_ids: Iterable[int]) -> None:
        """Wake workers up for these deployments; return when Redis was told, or the try failed."""
        self._pending.update(deployment_ids)
        async with self._turn:
            batch, self._pending = sorted(self._pending), set()
            if batch:
                # Not the shared thread pool: a Redis that hangs must not use up its threads.
                limiter = CapacityLimiter(1)
                await to_thread.run_sync(self._queue.wake, batch, limiter=limiter)
