"""A Redis that is replaced by another one, at the same address, while clients are connected."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from jobs.processes.bus import Bus, connect
from jobs.processes.queue import WorkQueue
from jobs.worker import RQ_VERSION, DeploymentWorker

WITHIN_S = 60


class Pair:
    """A primary and its replica; the address leads to the primary."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.address = folder / "redis.sock"
        self._folder = folder
        self.first, self.second = (self._start(name, stack) for name in ("first", "second"))
        (folder / "first.sock").rename(self.address)

    def _start(self, name: str, stack: ExitStack) -> Redis:
        path = self._folder / f"{name}.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
        process = stack.enter_context(subprocess.Popen([*command, "--dir", str(self._folder)]))
        stack.callback(process.kill)
        redis: Redis = stack.enter_context(Redis(unix_socket_path=str(path)))
        wait_until(lambda: is_up(redis))
        return redis

    def fail_over(self) -> None:
        """Let the address lead to the second one; the first one takes no more writes."""
        self.first.replicaof("127.0.0.1", "1")
        (self._folder / "second.sock").rename(self.address)


def is_up(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


def test_messages_and_wake_ups_follow_the_primary(pair: Pair) -> None:
    with connect(f"unix://{pair.address}") as redis, connect(f"unix://{pair.address}") as other:
        bus, queue = Bus(redis, "abcdef"), WorkQueue(other, "abcdef")
        bus.report_health({"docker": "ok"})
        assert queue.wake([3])
        pair.fail_over()
        bus.report_health({"docker": "gone"})
        assert bus.health() == {"docker": "gone"}
        assert queue.wake([5])
        assert queue.waiting() == {5}
        assert pair.second.keys()


def test_a_server_that_has_forgotten_its_scripts_is_given_them_again(
    redis: Redis, redis_url: str
) -> None:
    with connect(redis_url) as ours:
        queue = WorkQueue(ours, "abcdef")
        assert queue.wake([3])
        redis.script_flush()
        assert queue.wake([5])
        assert queue.waiting() == {3, 5}


def test_the_workers_library_asks_for_the_servers_version_again(redis: Redis) -> None:
    worker = DeploymentWorker(["keystone-abcdef"], connection=redis, serializer="json")
    setattr(redis, RQ_VERSION, (99, 0, 0))
    worker.heartbeat()
    assert not hasattr(redis, RQ_VERSION)
