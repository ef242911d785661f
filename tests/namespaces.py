"""Runs a shell script as the first process of namespaces of its own: processes, mounts, network.

The script usually makes a root, and becomes another program there. Its end is the end of everything
in its namespaces.
"""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

WITHIN_S = 60.0
SPACES = ("--pid", "--mount", "--ipc", "--uts", "--net")


@contextmanager
def first_process(
    script: str, *arguments: str, spaces: Sequence[str] = SPACES
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Run the script until the block ends.

    Gives the process id of the first process, and the process that it is a child of, whose output
    is that of the script.
    """
    group = _cgroups() / f"keystone-test-{secrets.token_hex(4)}"
    group.mkdir()
    command = ["unshare", "--fork", *spaces, "sh", "-c", script, "sh", *arguments]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None,  # noqa: PLW1509
        ) as outside:
            first = 0
            try:
                first = _first(outside)
                yield first, outside
            finally:
                # Its end is the end of everything in its namespace.
                with suppress(ProcessLookupError):
                    os.kill(first or outside.pid, signal.SIGKILL)
    finally:
        _remove(group)


def said(process: "subprocess.Popen[bytes]") -> str:
    """Give the end of what an ended script has printed."""
    assert process.stdout is not None
    return process.stdout.read().decode(errors="replace")[-2000:]


def until(holds: Callable[[], bool], *, what: str) -> None:
    """Wait until a condition holds.

    Raises:
        RuntimeError: it does not hold in time.
    """
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(0.05)


def _cgroups() -> Path:
    """Give the folder of the control groups of version 2."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    found = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    if not found:
        pytest.skip("there are no control groups of version 2")
    return found[0]


def _first(outside: "subprocess.Popen[bytes]") -> int:
    """Give the process that is the first one inside."""
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
    until(lambda: bool(children.read_text()) or outside.poll() is not None, what="namespaces")
    if not (found := children.read_text().split()):
        raise RuntimeError(f"no namespaces: {said(outside)}")
    return int(found[0])


def _remove(group: Path) -> None:
    """Remove a control group and those below it, once their processes have ended."""
    deadline = time.monotonic() + WITHIN_S
    while group.exists():
        for below in sorted(group.rglob("*"), reverse=True):
            if below.is_dir():
                with suppress(OSError):
                    below.rmdir()
        with suppress(OSError):
            group.rmdir()
        assert time.monotonic() < deadline, f"{group} is still in use"
        time.sleep(0.05)
