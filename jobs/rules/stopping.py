"""How running work is told to stop: by a person, a newer push, a lost lease, a leaving worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.errors import KeystoneError


class StopSignal:
    """Set once, from any thread; seen by the work at its next check, wait or blocking call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._error: KeystoneError | None = None
        self._closers: list[Callable[[], None]] = []

    def set(self, error: KeystoneError) -> None:
        """Stop the work with this error and cut off whatever it is blocked in. First one wins."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            closers = list(self._closers)
        self._event.set()
        for close in closers:
            close()

    def check(self) -> None:
        """Raise the error the work was stopped with, if it was."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Sleep for that long, or raise as soon as the work is stopped."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def cuts(self, close: Callable[[], None]) -> Iterator[None]:
        """Have `close` called when the work is stopped inside the block.

        `close` runs in another thread and must make the block's blocking call return or raise;
        whatever the block then raises is replaced by the stop's own error.
        """
        with self._lock:
            self._closers.append(close)
        try:
            self.check()
            yield
        except Exception:
            self.check()
            raise
        finally:
            with self._lock:
                self._closers.remove(close)
        self.check()
