"""Becoming another program that cannot outlive its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jobs.system.die_with_parent import EXIT_CANNOT_RUN, EXIT_ORPHANED
from jobs.system.privileges import Rights
from tests.apart import NOBODY, only_root
from tests.jobs.bench import wait_for

GUARD = (sys.executable, "-P", "-m", "jobs.system.die_with_parent")


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


def test_the_program_is_not_told_what_it_may_not_know() -> None:
    show = "import os; print(os.environ.get('SECRET'), os.environ.get('HOME'), os.environ['PATH'])"
    options = ["--without", "SECRET,NEVER_SET", "--with", "HOME=/a b=c"]
    done = subprocess.run(
        [*GUARD, str(os.getpid()), *options, sys.executable, "-c", show],
        env={**os.environ, "SECRET": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"None /a b=c {os.environ['PATH']}\n"


def test_the_program_can_gain_no_rights() -> None:
    done = guarded(os.getpid(), "grep", "NoNewPrivs", "/proc/self/status")
    assert done.stdout.split() == ["NoNewPrivs:", "1"]


@only_root
class TestAsAnotherUser:
    RIGHTS = Rights(NOBODY, NOBODY, (12345,), (10,))

    def test_it_becomes_the_program(self) -> None:
        rights = ["--rights", self.RIGHTS.to_text()]
        names = "^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs):"
        done = guarded(os.getpid(), *rights, "grep", "-E", names, "/proc/self/status")
        told = dict(line.split(":", 1) for line in done.stdout.splitlines())
        assert set(told["Uid"].split()) == set(told["Gid"].split()) == {str(NOBODY)}
        assert told["Groups"].split() == ["12345"]
        assert {int(told[name], 16) for name in ("CapEff", "CapBnd")} == {1 << 10}
        assert told["NoNewPrivs"].split() == ["1"]

    def test_it_dies_with_its_parent(self) -> None:
        """The kernel forgets that it should when a process becomes another user."""
        command = [*GUARD, "--rights", self.RIGHTS.to_text(), "sleep", "98765"]
        guard, options = command[: len(GUARD)], command[len(GUARD) :]
        code = (
            "import os, subprocess, sys, time; "
            f"child = subprocess.Popen([*{guard!r}, str(os.getpid()), *{options!r}]); "
            "print(child.pid, flush=True); time.sleep(99)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
            parent.kill()
        wait_for(lambda: not alive(pid))

    def test_one_that_the_kernel_does_not_let_it_become_is_told(self) -> None:
        inner = [*GUARD, "PARENT", "--rights", Rights(0, 0).to_text(), "true"]
        code = (
            "import os, subprocess, sys; "
            f"words = [str(os.getpid()) if w == 'PARENT' else w for w in {inner!r}]; "
            "sys.exit(subprocess.run(words).returncode)"
        )
        rights = ["--rights", Rights(0, 0, (), (7,)).to_text()]
        done = guarded(os.getpid(), *rights, sys.executable, "-c", code)
        assert done.returncode == EXIT_CANNOT_RUN
        assert done.stderr == "true: Operation not permitted\n"
