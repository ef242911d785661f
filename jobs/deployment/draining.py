"""Draining a router slot: its requests finish before the container behind it is stopped."""

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
    """Wait until a slot that gets no new requests has no requests or connections left.

    Args:
        router: the router.
        port: the app's port.
        slot: the slot that the traffic was switched away from.
        within_s: the longest wait, in seconds.
        pause: sleeps between two polls; an exception from it ends the wait.

    Returns:
        How many requests and connections are left; above 0 only after the longest wait.

    Raises:
        RouterError: the router does not answer.
    """
    deadline = time.monotonic() + within_s
    while left := router.in_flight(port, slot):
        if time.monotonic() > deadline:
            return left
        pause(DRAIN_PAUSE_S)
    return 0
