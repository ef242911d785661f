"""The watcher's duties: each at its pace, none ended by its own or another's mistakes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from redis import Redis

from jobs.errors import DockerError
from jobs.processes.bus import Bus
from jobs.processes.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.watcher import Duty, keep_doing, neighbours
from tests.jobs.bench import Bench, wait_for


def test_a_duty_survives_every_mistake_and_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.watcher.AFTER_FAILURE_S", 0.01)
    over, done = threading.Event(), list[int]()

    def do() -> None:
        done.append(1)
        match len(done):
            case 1:
                raise DockerError("the engine is down")
            case 2:
                raise ZeroDivisionError
            case 4:
                over.set()

    keep_doing(Duty("test", 0.01, do), over)
    assert len(done) == 4
    assert "test: the engine is down" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_trouble_that_stays_is_told_once_and_when_it_comes_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.watcher.AFTER_FAILURE_S", 0.01)
    over = threading.Event()
    errors = iter(["down", "down", "up, but ill", None, "up, but ill", "up, but ill"])

    def do() -> None:
        try:
            said = next(errors)
        except StopIteration:
            over.set()
            return
        if said:
            raise DockerError(said)

    keep_doing(Duty("test", 0.01, do), over)
    assert caplog.messages == ["test: down", "test: up, but ill", "test: up, but ill"]


def test_a_duty_ends_as_soon_as_it_is_over() -> None:
    over, done = threading.Event(), list[int]()
    thread = threading.Thread(
        target=keep_doing, args=(Duty("test", 3600, lambda: done.append(1)), over)
    )
    thread.start()
    wait_for(lambda: done)
    over.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_duty_that_fails_at_once_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.watcher.AFTER_FAILURE_S", 3600)  # a second may be over in no time
    over, done = threading.Event(), list[int]()

    def fail() -> None:
        done.append(1)
        raise DockerError("the engine is down")

    thread = threading.Thread(target=keep_doing, args=(Duty("test", 0, fail), over))
    thread.start()
    wait_for(lambda: done)
    time.sleep(0.3)
    over.set()
    thread.join(timeout=60)
    assert len(done) == 1


def test_the_neighbours_say_how_they_are(bench: Bench) -> None:
    assert neighbours(bench.world.tools) == {"docker": "ok", "router": "ok"}
    bench.world.engine.down = True
    assert neighbours(bench.world.tools) == {
        "docker": "the Docker Engine does not answer",
        "router": "ok",
    }


WATCHER = """
import os
from jobs.processes.runtime import open_runtime
from jobs.settings import WorkerSettings
from jobs.processes.configuration import read_settings
from jobs.watcher import run_watcher
run_watcher(open_runtime(read_settings(WorkerSettings, os.environ)))
"""


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_watcher_reports_and_ends_when_told_to(
    runtime: Runtime[WorkerSettings], redis: Redis, number: signal.Signals, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "KEYSTONE_DATA_DIR": str(runtime.settings.data_dir),
        "KEYSTONE_REDIS_URL": runtime.settings.redis_url,
        "KEYSTONE_SECRET_KEY": runtime.settings.secret_key.get_secret_value(),
    }
    with subprocess.Popen([sys.executable, "-c", WATCHER], env=environment) as watcher:
        try:
            bus = Bus(redis, runtime.identity)
            wait_for(lambda: _is_told(bus.health()))
            watcher.send_signal(number)
            assert watcher.wait(timeout=60) == 0
        finally:
            watcher.kill()


def _is_told(health: dict[str, str] | None) -> bool:
    """Whether Docker answers, and there is no router; a report is forgotten after 15 s."""
    match health:
        case {"docker": "ok", "router": said, **others}:
            return "the router does not answer" in said and not others
    return False
