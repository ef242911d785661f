"""A lock that is given to those who wait for it in the order in which they came."""

import threading
from collections import deque


class Turns:
    """Lets one thread at a time through; `threading.Lock` lets late ones overtake, for seconds."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout_s: float) -> bool:
        """Wait for the turn; False when it did not come in time."""
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
        # It came at the last moment: whoever was before has given it to nobody else.
        return True

    def release(self) -> None:
        """End the turn; the one who has waited longest is next."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
