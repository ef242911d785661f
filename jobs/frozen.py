"""Our own process that was stopped, by SIGSTOP or a freezer, while it holds what others wait for.

While it holds SQLite's write lock nobody can write: no webhook is accepted, no lease renewed. With
the lock of a mirror, nothing of that repository is fetched. The kernel tells who holds what, so the
one process is killed that nobody else could make up for.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.processes import is_below, is_stopped


class FrozenHolders:
    """Kills a child of ours that is found stopped with a lock at two looks in a row.

    Args:
        mirrors: the folder with a lock file for each repository.
        database: the SQLite file, if there is one.
    """

    def __init__(self, mirrors: Path, database: Path | None) -> None:
        self._mirrors = mirrors
        # Where SQLite locks the database of a write-ahead log: https://sqlite.org/walformat.html
        self._index = database.with_name(f"{database.name}-shm") if database else None
        self._suspects: set[int] = set()

    def look(self) -> set[int]:
        """Look once, every few seconds, and give the processes that were killed."""
        found = self._frozen()
        killed, self._suspects = found & self._suspects, found
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return killed

    def _frozen(self) -> set[int]:
        try:
            held = list(locks_held(Path("/proc/locks").read_text()))
        except OSError:  # no Linux: nobody is known to hold anything
            return set()
        us = os.getpid()
        stopped = [(pid, file) for pid, file in held if is_stopped(pid) and is_below(pid, us)]
        ours = self._inodes() if stopped else set()
        return {pid for pid, file in stopped if file in ours}

    def _inodes(self) -> set[int]:
        files = [*self._mirrors.glob("*.lock"), *([self._index] if self._index else [])]
        found = set()
        for file in files:
            with suppress(OSError):  # it is not there
                found.add(file.stat().st_ino)
        return found


def locks_held(locks: str) -> Iterator[tuple[int, int]]:
    """Find who keeps others from which file: process ids, and numbers of inodes.

    Args:
        locks: the text of `/proc/locks`: "7: POSIX  ADVISORY  WRITE 4711 fe:00:1466549 120 120".
    """
    for line in locks.splitlines():
        # One that only waits for a lock has an arrow as its second word.
        match line.split():
            case [_, "POSIX" | "FLOCK", _, "WRITE", pid, file, *_]:
                yield int(pid), int(file.rpartition(":")[2])
