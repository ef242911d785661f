"""A lock that waiting threads get in the order of their arrival."""

import threading
from collections import deque


class Turns:
    """A first-come-first-served lock. `threading.Lock` is not: late threads may win for seconds."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the lock; return False if the time is over first."""
        turn = threading.Lock()
        turn.acquire()
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            self._waiting.append(turn)
        if turn.acquire(timeout=max(timeout_s, 0)):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        # The previous holder passed the lock to this thread just after the timeout.
        return True

    def release(self) -> None:
        """Release the lock, and pass it to the thread that has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
