"""Lets the web process start before the parts that do not serve requests.

Requests for Keystone wait at the router while the web process starts, for 9 s at most. All parts
import much code, so on two processors they would make it start half as fast.
"""

import socket
import time
from collections.abc import Callable

from jobs.processes.hand_over import REDIS, WEB
from jobs.rules.ip_addresses import reachable

OTHERS_WAIT_S = 10.0
CONNECTS_WITHIN_S = 0.2
FIRST = frozenset({REDIS, WEB})


class WebFirst:
    """Decides which parts may start.

    Args:
        host: the address that the web process listens on.
        port: its port; 0 when no web process is run.
    """

    def __init__(
        self, host: str, port: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = (reachable(host), port)
        self._clock = clock
        self._until = clock() + OTHERS_WAIT_S
        self._is_over = not port

    def may_start(self, part: str) -> bool:
        """Whether a part may start: those that others need, or all once the web process serves."""
        if part in FIRST or self._is_over:
            return True
        self._is_over = self._clock() >= self._until or self._serves()
        return self._is_over

    def _serves(self) -> bool:
        try:
            socket.create_connection(self._address, CONNECTS_WITHIN_S).close()
        except OSError:
            return False
        return True
