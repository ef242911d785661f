"""Wakes up workers after an answer was sent, so that Redis never delays an answer."""

import asyncio
from collections.abc import Iterable

from anyio import CapacityLimiter, to_thread

from jobs.processes.queue import WorkQueue
from jobs.states import Lane


class Waker:
    """Hands deployments to the queue in one thread of its own, in batches.

    Nothing is lost if that fails or the process dies: the reconciler repeats every wake-up.
    """

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._pending: dict[Lane, set[int]] = {}
        self._turn = asyncio.Lock()

    async def wake(self, deployment_ids: Iterable[int], lane: Lane = Lane.BUILD) -> None:
        """Wake workers up for these deployments; return when Redis was told, or the try failed."""
        self._pending.setdefault(lane, set()).update(deployment_ids)
        async with self._turn:
            batches, self._pending = self._pending, {}
            for of_lane, batch in batches.items():
                if not batch:
                    continue
                # Not the shared thread pool: a Redis that hangs must not use up its threads.
                limiter = CapacityLimiter(1)
                await to_thread.run_sync(self._queue.wake, sorted(batch), of_lane, limiter=limiter)
