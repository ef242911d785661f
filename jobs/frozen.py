"""Our own process that was stopped, by SIGSTOP or a freezer, while it holds SQLite's write lock.

Nobody can write then, for as long as it does not go on: no webhook is accepted, no lease renewed.
The kernel tells who holds the lock, so the one process is killed that nobody else could make up
for. Imports nothing of ours: the supervisor calls it.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

# Of a write-ahead log: the writer's byte, the checkpointer's and that of whoever repairs it.
# https://sqlite.org/walformat.html#locks
LOCKED_BYTES = range(120, 123)
STOPPED = "T"


class FrozenWriters:
    """Kills a child of ours that is found stopped with the lock at two looks in a row."""

    def __init__(self, database: Path) -> None:
        self._index = database.with_name(f"{database.name}-shm")
        self._suspects: set[int] = set()

    def look(self) -> set[int]:
        """Look once, every few seconds, and give the processes that were killed."""
        found = {pid for pid in self._writers() if is_stopped(pid) and is_below(pid, os.getpid())}
        frozen, self._suspects = found & self._suspects, found
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return frozen

    def _writers(self) -> set[int]:
        try:
            return writers(Path("/proc/locks").read_text(), inode=self._index.stat().st_ino)
        except OSError:
            # No database yet, or no Linux: nobody is known to hold anything.
            return set()


def writers(locks: str, *, inode: int) -> set[int]:
    """Find who holds the write lock of a database, in the text of `/proc/locks`.

    Args:
        locks: lines such as "7: POSIX  ADVISORY  WRITE 4711 fe:00:1466549 120 120".
        inode: the number of the database's -shm file.
    """
    found = set()
    for line in locks.splitlines():
        # One that only waits for a lock has an arrow as its second word.
        match line.split():
            case [_, "POSIX", _, "WRITE", pid, file, first, _] if (
                file.rpartition(":")[2] == str(inode) and int(first) in LOCKED_BYTES
            ):
                found.add(int(pid))
    return found


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped: not asleep, not in a debugger."""
    return _state_and_parent(pid)[0] == STOPPED


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process was started by another, or by one that was."""
    while pid > 1 and pid != ancestor:
        _, pid = _state_and_parent(pid)
    return pid == ancestor


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # The name stands in parentheses and may hold anything, other parentheses too.
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return state, int(parent)
