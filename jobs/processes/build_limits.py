"""The resource limits of all builds together, and the control group that enforces them.

A build runs arbitrary commands from a Dockerfile. Without limits, a fork bomb in one build would
also take down the router, the database and every app.
"""

import os
from dataclasses import dataclass

from jobs.adapters.cgroups import ControlGroup
from jobs.adapters.docker.ping import is_local
from jobs.errors import PlatformError
from jobs.rules.container_values import Limits
from jobs.settings import Settings, WorkerSettings
from jobs.system.private_folder import ensure_private

MIB = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """The limits of builds.

    Attributes:
        group: the path of the control group with these limits; "" when there are no limits.
        is_shared: whether the operator has named the group. The engine then runs all builds in it,
            including those of other programs.
    """

    limits: Limits
    group: str
    is_shared: bool


def build_bounds(settings: WorkerSettings, identity: str) -> Bounds:
    """Give the limits from the settings."""
    limits = Limits(
        memory=settings.build_memory_mb * MIB or None,
        pids=settings.build_pids or None,
        cpus=settings.build_cpus or None,
    )
    group = settings.build_cgroup or f"keystone-{identity}"
    return Bounds(limits, group if limits else "", is_shared=bool(settings.build_cgroup))


def bound_builds(settings: WorkerSettings, identity: str) -> None:
    """Apply the limits, where that is possible.

    Only root may do this: for other users nothing happens, and `keystone doctor` reports it.

    Raises:
        PlatformError: the control group could not be limited.
    """
    bounds = build_bounds(settings, identity)
    if os.geteuid() != 0 or not is_local(os.environ):
        return
    shared = bounds.group if bounds.is_shared else ""
    _free_earlier_group(settings, shared)
    if bounds.group:
        # Also where the engine is too old to run builds in it: it may be upgraded while we run.
        try:
            ControlGroup(bounds.group).limit(bounds.limits)
        except PlatformError as exc:
            raise PlatformError(f"builds are not limited: {exc}") from exc


def _free_earlier_group(settings: Settings, shared: str) -> None:
    """Remove the limits from a shared group that an earlier start has limited."""
    mark = ensure_private(settings.data_dir / "run") / "limited-group"
    earlier = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if earlier not in {"", shared} and ControlGroup(earlier).limits() is not None:
        ControlGroup(earlier).limit(Limits())
    # Record the new group before it is limited, so that it is known even if we are killed then.
    mark.write_text(shared, encoding="utf-8")


def describe_limits(limits: Limits) -> str:
    """Describe the limits: "6144 MB of memory, 4096 processes, 3 processors"."""
    told = [
        (limits.memory, f"{(limits.memory or 0) // MIB} MB of memory"),
        (limits.pids, f"{limits.pids} processes"),
        (limits.cpus, f"{limits.cpus or 0:g} processors"),
    ]
    return ", ".join(words for value, words in told if value is not None)
