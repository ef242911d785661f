"""Describes the build limit that a failed build has reached. Pure."""

import re
from collections.abc import Iterable

from jobs.rules.container_values import Limits

MIB = 1024 * 1024
# Messages by which programs report that they, or their child processes, were killed.
_KILLED = re.compile(r"\bkilled\b|\bexit code:? 137\b|cannot allocate memory", re.IGNORECASE)
_CANNOT_FORK = re.compile(
    r"\b(?:cannot|can't|unable to|failed to) (?:fork|create (?:new |a )?(?:os )?thread)"
    r"|\bfork(?:\(\))?: retry|resource temporarily unavailable|\bEAGAIN\b|pthread_create",
    re.IGNORECASE,
)


def limit_reached(
    failure: str, last: Iterable[str], limits: Limits, *, memory_was_used_up: bool
) -> str:
    """Name the limit that a failed build has reached, and its setting; "" when none is evident.

    Args:
        failure: the build's error message.
        last: the last lines of the build's log.
        limits: the limits of the build.
        memory_was_used_up: whether the kernel reports that the memory limit was reached.
    """
    told = [failure, *last]
    if limits.memory and memory_was_used_up and any(map(_KILLED.search, told)):
        megabytes = limits.memory // MIB
        return f"builds together may use {megabytes} MB of memory (KEYSTONE_BUILD_MEMORY_MB)"
    if limits.pids and any(map(_CANNOT_FORK.search, told)):
        return f"builds together may have {limits.pids} processes (KEYSTONE_BUILD_PIDS)"
    return ""
