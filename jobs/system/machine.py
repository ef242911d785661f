"""This machine: how much memory and how many processors it has, and what of it builds may use.

Builds may use most of it. What is left is for Keystone, the engine and the apps.
"""

import os

MIB = 1024 * 1024
RESERVED_MB = 768  # at least, on a machine that has twice as much
SHARE = 3 / 4
# Compilers have a few hundred threads on a large machine; a fork bomb has as many as there can be.
BUILD_PIDS = 4096


def memory_mb() -> int:
    """Give the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB


def build_memory_mb(total_mb: int | None = None) -> int:
    """Give what all builds together may use of the memory, unless the operator says otherwise.

    Args:
        total_mb: the machine's memory; None: of this one.
    """
    total = memory_mb() if total_mb is None else total_mb
    return max(total // 2, min(int(total * SHARE), total - RESERVED_MB))


def build_cpus(total: int | None = None) -> float:
    """Give how many processors all builds together may use, unless the operator says otherwise."""
    return (total or os.cpu_count() or 1) * SHARE


def build_pids() -> int:
    """Give how many processes and threads all builds together may have, unless told otherwise."""
    return BUILD_PIDS
