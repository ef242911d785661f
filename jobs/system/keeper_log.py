"""The log of a process in the background: a bounded file, or standard error in the foreground."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from jobs.system.notify import Notifier

MOST_BYTES = 512 * 1024  # of each of two files


class KeeperLog:
    """Writes lines with their time.

    Args:
        file: the file, which also becomes standard output and error; None: standard error.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        if file is not None:
            self._open(file)

    def say(self, sentence: str) -> None:
        """Write one line."""
        when = time.strftime("%Y-%m-%d %H:%M:%S ") if self._file else ""
        with suppress(OSError):  # a full disk must not end the process
            os.write(sys.stderr.fileno(), f"{when}router: {sentence}\n".encode(errors="replace"))

    def rotate(self) -> None:
        """Begin a new file when this one is long; the previous one is kept."""
        if self._file is None:
            return
        with suppress(OSError):
            if os.fstat(sys.stderr.fileno()).st_size > MOST_BYTES:
                self._file.replace(self._file.with_name(f"{self._file.name}.1"))
                self._open(self._file)

    def _open(self, file: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(file, flags, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        for descriptor in (1, 2):
            os.dup2(opened, descriptor)
        os.close(opened)
        os.close(nothing)


def tell_systemd(haproxy: object, trouble: str) -> None:
    """Tell systemd that the router's service is at work, if systemd started it, and how it is.

    Args:
        haproxy: the process id of HAProxy's master; 0 when it does not run.
        trouble: what failed last; empty when nothing did.
    """
    notifier = Notifier.from_environment(os.environ)
    serves = f"HAProxy {haproxy} serves" if haproxy else "HAProxy does not run"
    notifier.status(f"{serves}; {trouble}" if trouble else serves)
    notifier.ready()
