"""Waking workers after the answer: together, in order, and never in anybody's way."""

import asyncio
import threading
from collections.abc import Iterable

from anyio.to_thread import current_default_thread_limiter

from jobs.processes.queue import WorkQueue
from jobs.states import Lane
from receiver.wake_up import Waker


class SlowQueue(WorkQueue):
    """Takes its time for the first wake-up, as a Redis that hangs does."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def wake(self, deployment_ids: Iterable[int], lane: Lane = Lane.BUILD) -> bool:
        """Remember the batch; the first one waits."""
        assert lane is Lane.BUILD
        self.batches.append(list(deployment_ids))
        self.has_begun.set()
        if len(self.batches) == 1:
            self.may_go_on.wait(60)
        return True


def test_wake_ups_queued_while_redis_is_slow_are_sent_together() -> None:
    queue = SlowQueue()
    waker = Waker(queue)

    async def many() -> float:
        tasks = [asyncio.create_task(waker.wake([number])) for number in (1, 2, 3, 2)]
        await asyncio.to_thread(queue.has_begun.wait, 60)
        borrowed = current_default_thread_limiter().borrowed_tokens
        queue.may_go_on.set()
        await asyncio.gather(*tasks)
        return borrowed

    assert asyncio.run(many()) == 0, "the shared threads must not wait for Redis"
    assert [number for batch in queue.batches for number in batch] == [1, 2, 3]
    assert len(queue.batches) <= 2


def test_nothing_to_wake_asks_nobody() -> None:
    queue = SlowQueue()
    asyncio.run(Waker(queue).wake([]))
    assert queue.batches == []
