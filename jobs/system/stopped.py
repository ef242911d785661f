"""Our own process that was stopped, by SIGSTOP or a freezer, and that nobody else can make up for.

While it holds SQLite's write lock nobody can write: no webhook is accepted, no lease renewed. With
the lock of a mirror, nothing of that repository is fetched. The kernel tells who holds what, so the
one process is killed that the others wait for. One that holds nothing is left alone as long as
another does its work; where there is none, it is killed too, later.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from jobs.system.proc import is_below, is_stopped
from jobs.system.watch_times import HOLDERS_LOOKS, LONG_LOOKS


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
        self._stopped = LongStopped(HOLDERS_LOOKS)

    def look(self) -> set[int]:
        """Look once, every few seconds, and give the processes that were killed."""
        killed = self._stopped.among(self._frozen())
        kill(killed)
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


class LongStopped:
    """Finds which processes were stopped at each of the last looks."""

    def __init__(self, looks: int = LONG_LOOKS) -> None:
        self._needed = looks
        self._looks: dict[int, int] = {}

    def among(self, pids: Iterable[int]) -> set[int]:
        """Look once, every few seconds, at these processes."""
        self._looks = {pid: self._looks.get(pid, 0) + 1 for pid in pids if is_stopped(pid)}
        return {pid for pid, looks in self._looks.items() if looks >= self._needed}


def kill(pids: Iterable[int]) -> None:
    """Kill processes, some of which may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


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
