"""The command line with a Keystone of the test's own: an empty folder and an empty Redis."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from jobs.processes.configuration import read_settings
from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import AllSettings
from tests.jobs.cli.commands import Commands, Environ


@pytest.fixture
def environ(tmp_path: Path, redis_url: str) -> Environ:
    """The settings of the test's Keystone, as variables."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    return {"KEYSTONE_DATA_DIR": str(tmp_path / "data"), "KEYSTONE_REDIS_URL": redis_url}


@pytest.fixture
def unfounded(
    environ: Environ, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    """The command line where no `keystone up` has ever run."""
    return Commands(environ, monkeypatch, capsys)


@pytest.fixture
def inside(
    environ: Environ, tmp_path: Path, empty_database: Path
) -> Iterator[Runtime[AllSettings]]:
    """The Keystone that the commands are about, from inside, where tests play the worker."""
    settings = read_settings(AllSettings, environ, env_file=tmp_path / "none")
    settings.data_dir.mkdir(mode=0o700)
    shutil.copy(empty_database, settings.data_dir / "keystone.db")
    runtime = open_runtime(settings)
    yield runtime
    runtime.database.close()


@pytest.fixture
def keystone(unfounded: Commands, inside: Runtime[AllSettings]) -> Commands:
    """The command line of a Keystone that is there, and empty."""
    inside.database.close()
    return unfounded
