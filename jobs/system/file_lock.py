"""Advisory locks on files with a deadline; the kernel releases them when their holder ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import ConflictError

POLL_S = 0.002


class NotInTimeError(Exception):
    """Another process held the lock for the whole time."""


@contextmanager
def locked(path: Path, *, patience_s: float, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file for the length of the block; create the file if it is missing.

    Args:
        path: the lock file.
        patience_s: how long to wait for other holders.
        shared: whether other shared holders are welcome.

    Raises:
        NotInTimeError: another process held the lock for the whole time.
        OSError: the file cannot be opened.
    """
    opened = open_lock(path)
    try:
        if not take(opened, patience_s=patience_s, shared=shared):
            raise NotInTimeError(str(path))
        yield
    finally:
        os.close(opened)


@contextmanager
def only_one(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock of a file for the length of the block, or do not begin it.

    Args:
        path: the lock file.
        otherwise: the error's message.

    Raises:
        ConflictError: another process holds the lock.
        OSError: the file cannot be opened.
    """
    opened = open_lock(path)
    try:
        if not take(opened):
            raise ConflictError(otherwise)
        yield
    finally:
        os.close(opened)


def open_lock(path: Path) -> int:
    """Open a lock file, without write access: its owner may be another user.

    Raises:
        OSError: it cannot be opened or created.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        opened = os.open(path, flags | os.O_CREAT, 0o600)
        # The folder decides who may take the lock; its users may be several.
        os.fchmod(opened, 0o644)
        return opened


def take(opened: int, *, patience_s: float = 0.0, shared: bool = False) -> bool:
    """Lock an open file; False when another process holds the lock for the whole time."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(opened, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file now; a missing file has no holder."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not take(opened, shared=True)
    finally:
        os.close(opened)
