"""The command line with a Keystone of the test's own: an empty folder and an empty Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from jobs.runtime import Runtime, open_runtime
from jobs.settings import AllSettings, read_settings
from tests.jobs.cli.commands import Commands, Environ


@pytest.fixture
def environ(tmp_path: Path, redis_url: str) -> Environ:
    """The settings of the test's Keystone, as variables."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    return {"KEYSTONE_DATA_DIR": str(tmp_path / "data"), "KEYSTONE_REDIS_URL": redis_url}


@pytest.fixture
def keystone(
    environ: Environ, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    """The command line."""
    return Commands(environ, monkeypatch, capsys)


@pytest.fixture
def inside(environ: Environ, tmp_path: Path) -> Iterator[Runtime[AllSettings]]:
    """The same Keystone from inside, where tests play the worker."""
    settings = read_settings(AllSettings, environ, env_file=tmp_path / "none")
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()
