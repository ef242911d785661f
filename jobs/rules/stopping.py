"""Stops running work: for a person, a newer push, a lost lease, or a worker that shuts down."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobs.errors import KeystoneError


class StopSignal:
    """A signal set once, from any thread; the work sees it at its next check, wait or block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._error: KeystoneError | None = None
        self._closers: list[Callable[[], None]] = []

    def set(self, error: KeystoneError) -> None:
        """Stop the work with this error, and interrupt its blocking calls. The first call wins."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            closers = list(self._closers)
        self._event.set()
        for close in closers:
            close()

    def check(self) -> None:
        """Raise the error that the work was stopped with, if it was stopped."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Sleep for that long, or raise as soon as the work is stopped."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def cuts(self, close: Callable[[], None]) -> Iterator[None]:
        """Call `close` if the work is stopped inside the block.

        `close` runs in another thread and must make the block's blocking call return or raise. Any
        exception that the block then raises is replaced by the error of the stop.
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
