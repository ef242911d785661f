"""Process information from Linux's /proc; on other systems the functions find no processes."""

import os
from pathlib import Path

STOPPED = "T"
BURIED = frozenset({"", "Z", "X"})  # missing, or a zombie that its parent has not reaped yet


def is_there(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    state, _ = _state_and_parent(pid)
    return state not in BURIED if state else _exists(pid)


def _exists(pid: int) -> bool:
    """Ask the kernel about a process that /proc does not show.

    It may hide the processes of other users, and we may have no file descriptor left to read it.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0  # 0 and negative numbers stand for groups of processes


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal, as opposed to sleeping or being traced."""
    return _state_and_parent(pid)[0] == STOPPED


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process is `ancestor` itself or one of its descendants."""
    while pid > 1 and pid != ancestor:
        _, pid = _state_and_parent(pid)
    return pid == ancestor


def parent_of(pid: int) -> int:
    """Give the process id of a process's parent; 0 if the process has ended."""
    return _state_and_parent(pid)[1]


def children_of(pid: int) -> list[int]:
    """Give the process ids of a process's children that have not ended."""
    try:
        return [
            int(child)
            for child in Path(f"/proc/{pid}/task/{pid}/children")
            .read_text(encoding="utf-8", errors="replace")
            .split()
        ]
    except OSError:
        return []


def user_of(pid: int) -> int:
    """Give the real user id of a process; -1 if it has ended."""
    # The owner of its folder in /proc is root once a process has changed its user.
    try:
        lines = (
            Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        )
    except OSError:
        return -1
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))


def runs_module(pid: int, module: str, file: Path | None = None) -> bool:
    """Whether a process runs a module of Python as `python -m`.

    Args:
        file: a file that must be among the arguments, under whatever path.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
    except OSError:
        return False
    return module in words and (file is None or any(_is_same(word, file) for word in words))


def _is_same(path: str, file: Path) -> bool:
    try:
        return Path(path).name == file.name and Path(path).samefile(file)
    except OSError:
        return False


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # The name is in parentheses and may contain any characters, including parentheses.
        state, parent, *_ = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return "", 0
    return state, int(parent)
