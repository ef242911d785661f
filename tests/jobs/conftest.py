"""The fixtures of the workers' room: a Keystone with a worker's settings, and a fake world."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from redis import Redis

from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import WorkerSettings
from tests.fakes import FakeWorld
from tests.jobs.bench import Bench

SECRET_KEY = SecretStr("a key that only the tests use")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """Give a connection to the Redis, which is empty."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> WorkerSettings:
    """Give a worker's settings, with a data directory of the test's own."""
    return WorkerSettings(data_dir=tmp_path / "data", redis_url=redis_url, secret_key=SECRET_KEY)


@pytest.fixture
def runtime(
    settings: WorkerSettings, empty_database: Path, redis: Redis
) -> Iterator[Runtime[WorkerSettings]]:
    """Open a Keystone whose Redis and database are empty."""
    settings.data_dir.mkdir(mode=0o700)
    shutil.copy(empty_database, settings.data_dir / "keystone.db")
    runtime = open_runtime(settings)
    # Of many threads at once the last would not get its turn in 9 s, on a disk that is slow today.
    runtime.database._busy_timeout_ms = 60_000
    yield runtime
    runtime.database.close()


@pytest.fixture
def lease_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that pass between two looks at leases: a test lets them."""
    passed = [0.0]
    monkeypatch.setattr("jobs.deployment.lease.time", SimpleNamespace(monotonic=lambda: passed[0]))
    return passed


@pytest.fixture
def world(runtime: Runtime[WorkerSettings]) -> FakeWorld:
    """Give a fake outside world."""
    return FakeWorld(runtime.identity)


@pytest.fixture
def bench(runtime: Runtime[WorkerSettings], world: FakeWorld) -> Bench:
    """Give a Keystone with a fake outside world."""
    return Bench(runtime, world)
