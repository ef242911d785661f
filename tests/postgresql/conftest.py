"""The fixtures of the workers' room once more, with a database on a real PostgreSQL server."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

import jobs.storage.database
from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import Settings, WorkerSettings
from tests.conftest import SECRET_KEY
from tests.fakes import FakeWorld
from tests.jobs.bench import Bench
from tests.postgresql.others import Others
from tests.postgresql.server import Server, started

MIGRATED = "migrated"
_numbers = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A private PostgreSQL for the whole run."""
    with started() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with the newest schema and nothing in it: copied for each test."""
    url, folder = server.create(MIGRATED), tmp_path_factory.mktemp(MIGRATED)
    settings = Settings(data_dir=folder, secret_key=SECRET_KEY, database_url=url)
    open_runtime(settings).database.close()
    return MIGRATED


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may take its time to answer: the machine is busy."""
    monkeypatch.setattr(jobs.storage.database, "CONNECT_TIMEOUT_S", 60)


@pytest.fixture
def url(server: Server, migrated: str) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    name = f"test-{next(_numbers)}"
    yield server.create(name, like=migrated)
    server.drop(name)


@pytest.fixture
def bare_url(server: Server) -> Iterator[str]:
    """The address of a database without any schema."""
    name = f"bare-{next(_numbers)}"
    yield server.create(name)
    server.drop(name)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, url: str) -> WorkerSettings:
    """A worker's settings, which name PostgreSQL."""
    return WorkerSettings(
        data_dir=tmp_path / "data", redis_url=redis_url, secret_key=SECRET_KEY, database_url=url
    )


@pytest.fixture
def runtime(settings: WorkerSettings) -> Iterator[Runtime[WorkerSettings]]:
    """A Keystone whose Redis and database are empty."""
    with Redis.from_url(settings.redis_url) as redis:
        redis.flushall()
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()


@pytest.fixture
def bench(runtime: Runtime[WorkerSettings]) -> Bench:
    """A Keystone with a fake outside world."""
    return Bench(runtime, FakeWorld(runtime.identity))


@pytest.fixture
def others(bench: Bench) -> Iterator[Others]:
    """Other processes of the same Keystone."""
    with Others(bench) as others:
        yield others
