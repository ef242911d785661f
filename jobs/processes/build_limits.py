"""What all builds together may use of this machine, and the control group that holds them to it.

A build runs whatever a Dockerfile says. Without limits a fork bomb in one takes the router, the
database and every app with it.
"""

import os
from dataclasses import dataclass

from jobs.adapters.cgroups import ControlGroup
from jobs.adapters.docker.ping import OLDEST_WITH_BUILD_GROUPS, api_version, is_local
from jobs.errors import PlatformError
from jobs.rules.container_values import Limits
from jobs.settings import Settings, WorkerSettings
from jobs.system.private_folder import ensure_private

MIB = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """What builds are held to.

    Attributes:
        group: the path of the control group with these limits; "" when there are none.
        is_shared: whether the operator named it. The engine runs everybody's builds in it then.
    """

    limits: Limits
    group: str
    is_shared: bool


def build_bounds(settings: WorkerSettings, identity: str) -> Bounds:
    """Give what the settings ask for."""
    limits = Limits(
        memory=settings.build_memory_mb * MIB or None,
        pids=settings.build_pids or None,
        cpus=settings.build_cpus or None,
    )
    group = settings.build_cgroup or f"keystone-{identity}"
    return Bounds(limits, group if limits else "", is_shared=bool(settings.build_cgroup))


def bound_builds(settings: WorkerSettings, identity: str) -> None:
    """Have the limits be in force from now on, where that does anything.

    Only root may: for others nothing is done, and `keystone doctor` says so.

    Raises:
        PlatformError: something is in the way.
    """
    bounds = build_bounds(settings, identity)
    if os.geteuid() != 0 or not is_local(os.environ):
        return
    shared = bounds.group if bounds.is_shared else ""
    _free_earlier_group(settings, shared)
    if shared or (bounds.group and _takes_groups()):
        try:
            ControlGroup(bounds.group).limit(bounds.limits)
        except PlatformError as exc:
            raise PlatformError(f"builds are not limited: {exc}") from exc


def _takes_groups() -> bool:
    # One that does not answer now may be any version when it does.
    version = api_version(os.environ)
    return version is None or version >= OLDEST_WITH_BUILD_GROUPS


def _free_earlier_group(settings: Settings, shared: str) -> None:
    """Take the limits off a group of everybody's that an earlier start has put them on."""
    mark = ensure_private(settings.data_dir / "run") / "limited-group"
    earlier = mark.read_text() if mark.exists() else ""
    if earlier not in {"", shared} and ControlGroup(earlier).limits() is not None:
        ControlGroup(earlier).limit(Limits())
    # Before the new one is limited: killed in between, there would be nothing to know it by.
    mark.write_text(shared)


def describe_limits(limits: Limits) -> str:
    """Say what builds may use: "6144 MB of memory, 4096 processes, 3 processors"."""
    told = [
        (limits.memory, f"{(limits.memory or 0) // MIB} MB of memory"),
        (limits.pids, f"{limits.pids} processes"),
        (limits.cpus, f"{limits.cpus or 0:g} processors"),
    ]
    return ", ".join(words for value, words in told if value is not None)
