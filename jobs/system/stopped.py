"""Finds and kills our own stopped processes (SIGSTOP or a freezer) that block others.

While a stopped process holds SQLite's write lock, no process can write: no webhook is accepted and
no lease is renewed. While it holds a mirror's lock, that repository cannot be fetched. The kernel
lists the holders of locks, so only the process that blocks the others is killed. A stopped process
without a lock is left alone if another process does its work; otherwise it is killed too, later.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from jobs.system.proc import is_below, is_stopped
from jobs.system.watch_times import HOLDERS_LOOKS, LONG_LOOKS


class FrozenHolders:
    """Kills a child process that two consecutive checks find stopped while it holds a lock.

    Args:
        mirrors: the folder with a lock file for each repository.
        database: the SQLite file, if there is one.
        others: further lock files.
    """

    def __init__(self, mirrors: Path, database: Path | None, *others: Path) -> None:
        self._mirrors = mirrors
        self._others = others
        # Where SQLite locks the database of a write-ahead log: https://sqlite.org/walformat.html
        self._index = database.with_name(f"{database.name}-shm") if database else None
        self._stopped = LongStopped(HOLDERS_LOOKS)

    def look(self) -> set[int]:
        """Check once; call it every few seconds. Give the processes that were killed."""
        killed = self._stopped.among(self._frozen())
        kill(killed)
        return killed

    def _frozen(self) -> set[int]:
        try:
            held = list(locks_held(Path("/proc/locks").read_text(encoding="utf-8")))
        except OSError:  # not Linux: the holders of locks are unknown
            return set()
        us = os.getpid()
        stopped = [(pid, file) for pid, file in held if is_stopped(pid) and is_below(pid, us)]
        ours = self._inodes() if stopped else set()
        return {pid for pid, file in stopped if file in ours}

    def _inodes(self) -> set[int]:
        files = [
            *self._mirrors.glob("*.lock"),
            *self._others,
            *([self._index] if self._index else []),
        ]
        found = set()
        for file in files:
            with suppress(OSError):  # the file does not exist
                found.add(file.stat().st_ino)
        return found


class LongStopped:
    """Finds the processes that were stopped at each of the last checks."""

    def __init__(self, looks: int = LONG_LOOKS) -> None:
        self._needed = looks
        self._looks: dict[int, int] = {}

    def among(self, pids: Iterable[int]) -> set[int]:
        """Check these processes once; call it every few seconds."""
        self._looks = {pid: self._looks.get(pid, 0) + 1 for pid in pids if is_stopped(pid)}
        return {pid for pid, looks in self._looks.items() if looks >= self._needed}


def kill(pids: Iterable[int]) -> None:
    """Kill processes, some of which may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def locks_held(locks: str) -> Iterator[tuple[int, int]]:
    """Give the holders of exclusive locks: pairs of process id and the file's inode number.

    Args:
        locks: the text of `/proc/locks`: "7: POSIX  ADVISORY  WRITE 4711 fe:00:1466549 120 120".
    """
    for line in locks.splitlines():
        # The line of a process that waits for a lock has an arrow as its second word.
        match line.split():
            case [_, "POSIX" | "FLOCK", _, "WRITE", pid, file, *_]:
                yield int(pid), int(file.rpartition(":")[2])
