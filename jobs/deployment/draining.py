"""Letting a slot of the router finish what it serves, before what is behind it ends."""

import time
from collections.abc import Callable

from jobs.adapters.ports import Router

DRAIN_PAUSE_S = 0.05


def drain(
    router: Router,
    port: int,
    slot: str,
    *,
    within_s: float,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until a slot that gets no new requests serves nobody any more.

    Args:
        router: what serves.
        port: the app's.
        slot: the one that was switched away from.
        within_s: seconds after which nobody waits any longer.
        pause: sleeps between two looks; what it raises ends the wait.

    Returns:
        How many requests and connections are left; 0 unless the time was over.

    Raises:
        RouterError: the router does not answer.
    """
    deadline = time.monotonic() + within_s
    while left := router.in_flight(port, slot):
        if time.monotonic() > deadline:
            return left
        pause(DRAIN_PAUSE_S)
    return 0
