"""Wake-ups: lost without harm, doubled without harm, carrying an id and nothing else."""

import json
import time

import pytest
from redis import Redis
from rq import Queue, Worker

from jobs.errors import QueueError
from jobs.processes.bus import connect
from jobs.processes.queue import TASK, WorkQueue
from jobs.states import EVERY_LANE, Lane


@pytest.fixture
def queue(redis: Redis) -> WorkQueue:
    return WorkQueue(redis, "abcdef")


def test_what_was_woken_waits_for_a_worker(queue: WorkQueue) -> None:
    assert queue.wake([3, 5])
    assert queue.waiting() == {3, 5}


def test_a_wake_up_carries_an_id_and_nothing_else(queue: WorkQueue, redis: Redis) -> None:
    queue.wake([3])
    (job,) = Queue("keystone-abcdef", connection=redis, serializer="json").jobs
    assert (job.func_name, job.args, job.kwargs) == (TASK, [3], {})
    assert json.loads(job.data) == [TASK, None, [3], {}]


def test_two_keystones_share_a_redis(queue: WorkQueue, redis: Redis) -> None:
    WorkQueue(redis, "ghijkl").wake([7])
    assert queue.waiting() == set()


def test_each_lane_has_a_queue(queue: WorkQueue) -> None:
    queue.wake([3])
    queue.wake([5], Lane.QUICK)
    assert queue.waiting([Lane.BUILD]) == {3}
    assert queue.waiting([Lane.QUICK]) == {5}
    assert queue.waiting() == {3, 5}


def test_a_worker_of_both_lanes_counts_once(queue: WorkQueue, redis: Redis) -> None:
    queues = [Queue(queue.name(lane), connection=redis) for lane in Lane]
    for its_queues in (queues, queues[1:]):
        Worker(its_queues, connection=redis).register_birth()  # type: ignore[no-untyped-call]
    assert [queue.workers_alive([lane]) for lane in Lane] == [1, 2]
    assert queue.workers_alive(EVERY_LANE) == 2


def test_waking_twice_is_one_deployment(queue: WorkQueue) -> None:
    queue.wake([3])
    queue.wake([3])
    assert queue.waiting() == {3}


def test_what_is_not_ours_in_the_queue_is_passed_over(queue: WorkQueue, redis: Redis) -> None:
    queue.wake([3])
    redis.rpush("rq:queue:keystone-abcdef", "evil", "keystone-abcdef-", "keystone-abcdef-x9")
    assert queue.waiting() == {3}


def test_a_redis_that_is_down_is_no_error_and_quick(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = WorkQueue(connect("unix:///nonexistent/redis.sock"), "abcdef")
    took = []
    for _ in range(3):
        begun = time.monotonic()
        assert not queue.wake([1])
        took.append(time.monotonic() - begun)
    assert min(took) < 2  # whatever else the machine does meanwhile
    assert "the reconciler repeats it" in caplog.text
    with pytest.raises(QueueError):
        queue.waiting()
