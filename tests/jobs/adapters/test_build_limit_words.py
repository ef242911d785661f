"""Which limit a failed build has run into, told by its own words."""

import pytest

from jobs.adapters.buildkit.limits import limit_reached
from jobs.rules.container_values import Limits

MIB = 1024 * 1024
LIMITS = Limits(memory=512 * MIB, pids=4096, cpus=1.5)
MEMORY = "builds together may use 512 MB of memory (KEYSTONE_BUILD_MEMORY_MB)"
PIDS = "builds together may have 4096 processes (KEYSTONE_BUILD_PIDS)"


@pytest.mark.parametrize(
    ("failure", "last"),
    [
        ('the build failed at "RUN make": exit code 137', ""),
        ("the build failed: cannot allocate memory", ""),
        ("exit code 1", "gcc: fatal error: Killed signal terminated program cc1plus"),
        ("exit code 2", "make: *** [Makefile:3: all] Killed"),
    ],
)
def test_memory(failure: str, last: str) -> None:
    assert limit_reached(failure, [last], LIMITS, memory_was_used_up=True) == MEMORY
    assert limit_reached(failure, [last], LIMITS, memory_was_used_up=False) == ""
    assert limit_reached(failure, [last], Limits(pids=1), memory_was_used_up=True) == ""


@pytest.mark.parametrize(
    "last",
    [
        "sh: can't fork: Resource temporarily unavailable",
        "/bin/sh: 1: Cannot fork",
        "bash: fork: retry: Resource temporarily unavailable",
        "runtime: failed to create new OS thread (have 7 already; errno=11)",
        "Error: spawn /usr/bin/node EAGAIN",
        "pthread_create failed in worker pool",
    ],
)
def test_processes(last: str) -> None:
    assert limit_reached("exit code 2", [last], LIMITS, memory_was_used_up=False) == PIDS
    assert limit_reached("exit code 2", [last], Limits(memory=1), memory_was_used_up=False) == ""


@pytest.mark.parametrize(
    "last", ["2 tests failed", "we forked the repository", "killing time", "error: no such file"]
)
def test_other_failures_are_left_as_they_are(last: str) -> None:
    assert limit_reached("exit code 1", [last], LIMITS, memory_was_used_up=True) == ""
