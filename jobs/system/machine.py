"""This machine's memory and processors, and the default limits of builds.

Builds may use most of the resources. The rest is reserved for Keystone, the engine and the apps.
"""

import os

MIB = 1024 * 1024
RESERVED_MB = 768  # minimum reserve, on a machine with at least twice as much memory
SHARE = 3 / 4
# Compilers have a few hundred threads on a large machine; a fork bomb creates as many as possible.
BUILD_PIDS = 4096


def memory_mb() -> int:
    """Give the machine's memory in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB


def build_memory_mb(total_mb: int | None = None) -> int:
    """Give the default memory limit of all builds together.

    Args:
        total_mb: the machine's memory; None: that of this machine.
    """
    total = memory_mb() if total_mb is None else total_mb
    return max(total // 2, min(int(total * SHARE), total - RESERVED_MB))


def build_cpus(total: int | None = None) -> float:
    """Give the default number of processors that all builds together may use."""
    return (total or os.cpu_count() or 1) * SHARE


def build_pids() -> int:
    """Give the default limit of processes and threads of all builds together."""
    return BUILD_PIDS
