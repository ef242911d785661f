"""Checks for `keystone doctor` whether resource limits apply to builds on this machine."""

import os

from jobs.adapters.cgroups import ControlGroup
from jobs.adapters.docker.ping import OLDEST_WITH_BUILD_GROUPS, api_version, is_local
from jobs.processes.build_limits import Bounds, build_bounds, describe_limits
from jobs.rules.findings import Finding, Verdict
from jobs.settings import WorkerSettings

NAME = "build limits"
OLDEST_WITH_NEW_FRONTEND = (1, 42)  # of the Engine API: Docker Engine 23
NEWER = "use Docker Engine 23 or newer"
SHARED = (
    f"{NEWER}; or set KEYSTONE_BUILD_CGROUP=docker/buildkit, where this one runs builds unless it "
    "is told otherwise (cgroupfs driver only): that limits other people's builds, too"
)


def frontend_of_builds(settings: WorkerSettings) -> Finding:
    """Report what reads a Dockerfile that does not name a frontend itself."""
    name, image = "Dockerfile frontend", settings.dockerfile_frontend
    if image:
        return Finding(name, Verdict.OK, f"{image}, unless the Dockerfile has a `# syntax=` line")
    version = api_version(os.environ) if is_local(os.environ) else None
    if version is None or version >= OLDEST_WITH_NEW_FRONTEND:
        return Finding(name, Verdict.OK, "the engine's own")
    found = (
        "the engine's own, which is old: no heredocs, no COPY --link (for these, set "
        "KEYSTONE_DOCKERFILE_FRONTEND=docker/dockerfile:1)"
    )
    return Finding(name, Verdict.OK, found)


def limits_of_builds(settings: WorkerSettings, identity: str) -> Finding:
    """Report the limits of all builds together, or why there are none.

    Args:
        identity: this Keystone's identity; "" before its first start.
    """
    bounds = build_bounds(settings, identity)
    if not bounds.group:
        return Finding(NAME, Verdict.IDLE, "off: KEYSTONE_BUILD_MEMORY_MB, …_PIDS, …_CPUS are 0")
    if not is_local(os.environ):
        found = "none: DOCKER_HOST names an engine on another machine"
        return Finding(NAME, Verdict.WARNING, found, "run Keystone on the engine's machine")
    version = api_version(os.environ)
    if version is None:
        # Another finding reports an engine that does not answer.
        return Finding(NAME, Verdict.IDLE, "not known: the engine does not answer")
    if version < OLDEST_WITH_BUILD_GROUPS and not bounds.is_shared:
        found = "none: this engine takes no limits for a build by its newer builder"
        return Finding(NAME, Verdict.WARNING, found, SHARED)
    return _in_force(bounds, identity)


def _in_force(bounds: Bounds, identity: str) -> Finding:
    wanted, found = describe_limits(bounds.limits), ControlGroup(bounds.group).limits()
    if found == bounds.limits:
        whose = "everybody's builds" if bounds.is_shared else "all builds together"
        return Finding(NAME, Verdict.OK, f"{wanted}, for {whose}")
    if not identity:
        return Finding(NAME, Verdict.IDLE, f"{wanted}, from the first start on")
    fix = "start Keystone again, as root: nobody else may make control groups"
    return Finding(NAME, Verdict.WARNING, f"none in force; wanted are {wanted}", fix)
