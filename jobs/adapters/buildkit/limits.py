"""What a limit on builds has done to one: the words that say so. Pure."""

import re
from collections.abc import Iterable

from jobs.rules.container_values import Limits

MIB = 1024 * 1024
# How programs tell that they, or what they had started, were killed.
_KILLED = re.compile(r"\bkilled\b|\bexit code:? 137\b|cannot allocate memory", re.IGNORECASE)
_CANNOT_FORK = re.compile(
    r"\b(?:cannot|can't|unable to|failed to) (?:fork|create (?:new |a )?(?:os )?thread)"
    r"|\bfork(?:\(\))?: retry|resource temporarily unavailable|\bEAGAIN\b|pthread_create",
    re.IGNORECASE,
)


def limit_reached(
    failure: str, last: Iterable[str], limits: Limits, *, memory_was_used_up: bool
) -> str:
    """Say which limit a failed build has run into, and the setting for it; "" when none shows.

    Args:
        failure: the sentence that the build ends with.
        last: the last lines of its log.
        limits: those that it ran under.
        memory_was_used_up: whether the kernel says so.
    """
    told = [failure, *last]
    if limits.memory and memory_was_used_up and any(map(_KILLED.search, told)):
        megabytes = limits.memory // MIB
        return f"builds together may use {megabytes} MB of memory (KEYSTONE_BUILD_MEMORY_MB)"
    if limits.pids and any(map(_CANNOT_FORK.search, told)):
        return f"builds together may have {limits.pids} processes (KEYSTONE_BUILD_PIDS)"
    return ""
