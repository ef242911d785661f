"""The private Redis, as it is really started."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from jobs.errors import ConfigurationError
from jobs.processes.bus import connect
from jobs.processes.redis_server import find_redis_server, redis_command
from jobs.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A data directory whose path is long and has a space: its sockets lie elsewhere."""
    settings = Settings(data_dir=tmp_path / "a folder with a long name" / ("x" * 80))
    yield settings
    shutil.rmtree(settings.socket_dir, ignore_errors=True)


@contextmanager
def running(settings: Settings) -> Iterator[tuple[Redis, "subprocess.Popen[bytes]"]]:
    """Run the private Redis, and give a connection to it."""
    process = subprocess.Popen(redis_command(settings), stdout=subprocess.DEVNULL)
    try:
        with connect(settings.effective_redis_url) as redis:
            _wait_for(redis)
            yield redis, process
    finally:
        process.kill()
        process.wait(60)


def _wait_for(redis: Redis) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            redis.ping()
        except RedisError:
            assert time.monotonic() < deadline, "redis-server did not come up"
            time.sleep(0.02)
        else:
            return


def test_data_survives_a_kill_of_redis(settings: Settings) -> None:
    with running(settings) as (redis, process):
        redis.rpush("queue", "deployment-1")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with running(settings) as (redis, _):
        assert redis.lrange("queue", 0, -1) == [b"deployment-1"]


def test_only_its_owner_can_reach_redis(settings: Settings) -> None:
    with running(settings) as (redis, _):
        assert settings.socket_dir.stat().st_mode & 0o777 == 0o700
        assert settings.redis_socket.parent.stat().st_mode & 0o777 == 0o700
        assert redis.config_get("port") == {"port": "0"}


def test_a_worker_can_read_its_client_info(settings: Settings) -> None:
    with running(settings) as (redis, _):
        # RQ asks this at its start; with a space in the socket's path redis-py cannot answer it.
        assert redis.client_info()["addr"]


def test_without_a_redis_server_the_error_says_how_to_install_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_redis_server() is None
    with pytest.raises(ConfigurationError, match="apt-get install redis-server"):
        redis_command(settings)


def test_valkey_can_replace_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "valkey-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == str(server)
