"""Becoming another program that cannot outlive its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobs.guard import EXIT_CANNOT_RUN, EXIT_ORPHANED

GUARD = (sys.executable, "-P", "-m", "jobs.guard")


def guarded(parent: int, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as the guarded child of a process."""
    return subprocess.run(
        [*GUARD, str(parent), *command], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_becomes_the_program_with_its_arguments_as_they_are() -> None:
    done = guarded(os.getpid(), sys.executable, "-c", "import sys; print(sys.argv[1])", "a b%;#")
    assert done.stdout == "a b%;#\n"


def test_a_child_whose_parent_is_gone_already_never_begins() -> None:
    done = guarded(1 if os.getpid() != 1 else 2, sys.executable, "-c", "print('begun')")
    assert (done.returncode, done.stdout) == (EXIT_ORPHANED, "")


def test_a_program_that_is_not_there_is_named() -> None:
    done = guarded(os.getpid(), "no-such-program")
    assert done.returncode == EXIT_CANNOT_RUN
    assert done.stderr == "no-such-program: No such file or directory\n"


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    code = (
        "import os, subprocess, sys, time; "
        f"subprocess.Popen([*{GUARD!r}, str(os.getpid()), sys.executable, '-c', {child!r}]); "
        "time.sleep(99)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        pid = wait_for_number(pid_file)
        assert alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def wait_for_number(file: Path) -> int:
    """Read a number as soon as it is there."""
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline, "the child never began"
        time.sleep(0.02)
    return int(file.read_text())


def alive(pid: int) -> bool:
    """Whether a process runs: one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
