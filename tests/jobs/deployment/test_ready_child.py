"""A child that stands by: what it does, and how it ends."""

import os
import signal
from pathlib import Path

import pytest

from jobs.deployment.ready_child import NAME, NAME_AT_WORK, Standby
from jobs.system.proc import is_stopped
from tests.jobs.bench import wait_for


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_child_prepares_and_then_runs_the_job_it_receives(tmp_path: Path) -> None:
    prepared, told = tmp_path / "prepared", tmp_path / "told"
    standby = Standby.fork(
        [prepared.touch],
        lambda message: told.write_text(f"{message} {os.getpid()} {name_of(os.getpid())}"),
    )
    wait_for(prepared.exists)
    assert not told.exists()
    assert name_of(standby.pid) == NAME

    assert standby.hand_over("job 7")
    assert os.waitpid(standby.pid, 0)[1] == os.EX_OK
    assert told.read_text() == f"job 7 {standby.pid} {NAME_AT_WORK}"


def test_work_that_is_there_is_not_kept_waiting_by_preparations(tmp_path: Path) -> None:
    handed_over, second = tmp_path / "handed over", tmp_path / "second"
    standby = Standby.fork([lambda: wait_for(handed_over.exists), second.touch], lambda _: None)
    assert standby.hand_over("job 7")
    handed_over.touch()
    os.waitpid(standby.pid, 0)
    assert not second.exists()


def test_a_dead_child_takes_no_work_and_is_reaped() -> None:
    standby = Standby.fork([], lambda _: None)
    os.kill(standby.pid, signal.SIGKILL)
    wait_for(lambda: _has_ended(standby.pid))
    assert not standby.hand_over("job 7")
    assert not Path(f"/proc/{standby.pid}").exists()


def test_a_child_stopped_at_its_start_has_its_own_process_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "setpgrp", lambda: os.kill(os.getpid(), signal.SIGSTOP))
    standby = Standby.fork([], lambda _: None)
    try:
        wait_for(lambda: is_stopped(standby.pid))
        assert os.getpgid(standby.pid) == standby.pid
    finally:
        os.kill(standby.pid, signal.SIGKILL)
        os.waitpid(standby.pid, 0)


def test_a_child_exits_normally_when_its_pipe_closes(tmp_path: Path) -> None:
    acted = tmp_path / "acted"
    standby = Standby.fork([], lambda _: acted.touch())
    os.close(standby.pipe)
    assert os.waitpid(standby.pid, 0)[1] == os.EX_OK
    assert not acted.exists()


def test_work_that_fails_ends_the_child_and_never_comes_back_here() -> None:
    def fail(_message: str) -> None:
        raise ValueError

    standby = Standby.fork([], fail)
    standby.hand_over("job 7")
    assert os.waitstatus_to_exitcode(os.waitpid(standby.pid, 0)[1]) == os.EX_SOFTWARE


def _has_ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
