"""`keystone demo`, from beginning to end, on the real engine."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from jobs.demo.traffic import ask
from jobs.settings import Settings
from tests.acceptance.belongings import Belongings
from tests.jobs.bench import wait_for
from tests.processes import processes

pytestmark = [pytest.mark.docker, pytest.mark.timeout(800)]

SHOWN_WITHIN_S = 300.0
STOPS_WITHIN_S = 120.0


def demo(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the demo, with its own data below the folder."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.cli", "demo", *arguments],
        cwd=folder,
        env=environ | {"KEYSTONE_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for the demo; the images that it keeps for the next time are removed."""
    yield tmp_path
    with belongings(tmp_path) as on_engine:
        on_engine.remove()
    shutil.rmtree(Settings(data_dir=tmp_path / "demo").socket_dir, ignore_errors=True)


@contextmanager
def belongings(folder: Path) -> Iterator[Belongings]:
    """Find what the demo has on the Docker Engine."""
    with closing(sqlite3.connect(folder / "demo" / "keystone.db")) as database:
        ((identity,),) = database.execute("SELECT name FROM identity").fetchall()
    with closing(Belongings(identity)) as found:
        yield found


def test_two_versions_go_live_without_a_failed_request_each_time_it_is_shown(
    folder: Path,
) -> None:
    with demo(folder) as process:
        try:
            told = read_until(process, "The login:")
            ensure_shown(told)
            (app,) = re.findall(r"The app: +(\S+)", told)
            assert "version 2" in ask(app)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOPS_WITHIN_S) == 0
        finally:
            process.kill()
    ensure_nothing_runs(folder)

    with demo(folder, "--once") as process:
        again, _ = process.communicate(timeout=SHOWN_WITHIN_S)
        assert process.returncode == 0, again
    ensure_shown(again)
    assert "version 4" in again
    assert login(again) == login(told)
    ensure_nothing_runs(folder)


def ensure_shown(told: str) -> None:
    """Make sure that what was pushed is what answered, and that no visitor was turned away."""
    pushed = re.findall(r"Pushing (\w{8})", told)
    answered = re.findall(r"answers: Hello, this is version \d, built from commit (\w{8})", told)
    assert len(pushed) == 2, told
    assert answered == pushed
    assert re.search(r"\d{2,} requests meanwhile and were answered by 2 releases; 0 req", told)


def read_until(process: "subprocess.Popen[str]", end: str) -> str:
    """Read what the demo tells until a line with that text."""
    assert process.stdout is not None
    deadline, told = time.monotonic() + SHOWN_WITHIN_S, ""
    for line in process.stdout:
        told += line
        if end in line:
            return told
        assert time.monotonic() < deadline, told
    raise AssertionError(told)


def login(told: str) -> str:
    """Find the login in what the demo told."""
    return told.partition("The login:")[2].strip().splitlines()[0]


def ensure_nothing_runs(folder: Path) -> None:
    """Make sure that the demo left no process, no container and no network behind."""
    told = f"KEYSTONE_DATA_DIR={folder}"
    # What dies with its parent dies a moment later.
    wait_for(lambda: not [process for process in processes() if told in process.environment])
    with belongings(folder) as on_engine:
        assert on_engine.containers() == []
        assert on_engine.networks() == []
