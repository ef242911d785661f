"""Kernel control groups (cgroups), which limit the resources that a set of processes uses together.

Supports both versions: version 2 has one tree, version 1 has a tree for each resource. Only root
may create a group; every user may read its limits and how often they were reached.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ (read 2026-11-30).
"""

import os
from contextlib import suppress
from pathlib import Path

from jobs.errors import PlatformError
from jobs.rules.container_values import Limits

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000  # the period to which a CPU quota applies; the kernel's own default
NONE = "max"
# CPU weights for version 2 and version 1: a quarter of the default weight, and the default.
LIGHT, USUAL = ("25", "256"), ("100", "1024")


class ControlGroup:
    """One control group, named by its path below the root of the tree: `keystone-abcdef`."""

    def __init__(self, path: str, *, root: Path = ROOT) -> None:
        self.path = path
        self._root = root
        self._is_one_tree = (root / "cgroup.controllers").exists()

    def limit(self, limits: Limits) -> None:
        """Create the group if it does not exist, and set exactly these limits.

        Raises:
            PlatformError: this process lacks the permission, or the kernel lacks the feature.
        """
        try:
            if self._is_one_tree:
                self._limit_in_one_tree(limits)
            else:
                self._limit_in_many_trees(limits)
        except OSError as exc:
            raise PlatformError(f"{exc.filename}: {exc.strerror}") from exc

    def limits(self) -> Limits | None:
        """Give the group's current limits; None when the group does not exist."""
        if not self._folder("memory").is_dir():
            return None
        memory = self._number("memory", "memory.max", "memory.limit_in_bytes")
        # Version 1 has no keyword for "no limit": it shows a number near the largest one.
        is_none = memory is None or memory >= 2**62
        return Limits(
            memory=None if is_none else memory,
            pids=self._number("pids", "pids.max", "pids.max"),
            cpus=self._cpus(),
        )

    def killed(self) -> int:
        """Count the processes that the kernel killed because the group's memory was used up.

        Always 0 on version 1, which does not count kills in child groups.
        """
        counts = dict(line.split() for line in self._read("memory", "memory.events").splitlines())
        return int(counts.get("oom_kill", 0))

    def memory_was_used_up(self, killed_before: int) -> bool:
        """Whether a process may have been killed for memory since `killed` returned that number.

        Version 1 only tells whether usage has ever reached the limit; cached file contents count
        as usage, too.
        """
        if self._is_one_tree:
            return self.killed() > killed_before
        limit = self._number("memory", "", "memory.limit_in_bytes")
        most = self._number("memory", "", "memory.max_usage_in_bytes")
        return limit is not None and most is not None and most >= limit

    def remove(self) -> None:
        """Remove the group, unless a process runs in it or this process lacks the permission."""
        for resource in ("memory", "pids", "cpu"):
            with suppress(OSError):
                self._folder(resource).rmdir()

    def _limit_in_one_tree(self, limits: Limits) -> None:
        folder = self._root
        for part in Path(self.path).parts:
            _write(folder / "cgroup.subtree_control", "+memory +pids +cpu")
            folder /= part
            folder.mkdir(exist_ok=True)
        _write(folder / "memory.max", _told(limits.memory))
        if (folder / "memory.swap.max").exists():
            _write(folder / "memory.swap.max", NONE if limits.memory is None else "0")
        _write(folder / "pids.max", _told(limits.pids))
        _write(folder / "cpu.max", f"{_told(_quota(limits.cpus))} {PERIOD_US}")
        _write(folder / "cpu.weight", (LIGHT if limits else USUAL)[0])

    def _limit_in_many_trees(self, limits: Limits) -> None:
        for resource in ("memory", "pids", "cpu"):
            self._folder(resource).mkdir(parents=True, exist_ok=True)
        memory, cpu = self._folder("memory"), self._folder("cpu")
        with_swap = memory / "memory.memsw.limit_in_bytes"
        # The limit with swap may never be below the limit without it, so lift it first.
        if with_swap.exists():
            _write(with_swap, "-1")
        _write(memory / "memory.limit_in_bytes", _told(limits.memory, none="-1"))
        if with_swap.exists():
            _write(with_swap, _told(limits.memory, none="-1"))
        _write(self._folder("pids") / "pids.max", _told(limits.pids))
        _write(cpu / "cpu.cfs_period_us", str(PERIOD_US))
        _write(cpu / "cpu.cfs_quota_us", _told(_quota(limits.cpus), none="-1"))
        _write(cpu / "cpu.shares", (LIGHT if limits else USUAL)[1])

    def _folder(self, resource: str) -> Path:
        tree = self._root if self._is_one_tree else self._root / resource
        return tree / self.path

    def _read(self, resource: str, name: str) -> str:
        with suppress(OSError):
            return (self._folder(resource) / name).read_text(encoding="utf-8")
        return ""

    def _number(self, resource: str, in_one_tree: str, in_many_trees: str) -> int | None:
        text = self._read(resource, in_one_tree if self._is_one_tree else in_many_trees).strip()
        return int(text) if text.isdecimal() else None

    def _cpus(self) -> float | None:
        if self._is_one_tree:
            quota, _, period = self._read("cpu", "cpu.max").strip().partition(" ")
        else:
            quota = self._read("cpu", "cpu.cfs_quota_us").strip()
            period = self._read("cpu", "cpu.cfs_period_us").strip()
        return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _quota(cpus: float | None) -> int | None:
    return None if cpus is None else round(cpus * PERIOD_US)


def _told(value: int | None, *, none: str = NONE) -> str:
    return none if value is None else str(value)


def _write(file: Path, text: str) -> None:
    # Not `write_text`: the kernel takes a value in one write call, whose error is the answer.
    descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, text.encode())
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(file)) from exc
    finally:
        os.close(descriptor)
