"""Blocks the cloud's metadata service for containers and builds, while the setting is on.

The firewall rules outlive Keystone, as the containers do. A marker file in the data directory
records that the rules were inserted, so that they are deleted once the setting is off.
"""

import os
from pathlib import Path

from jobs.adapters.firewall import Firewall, engine_group
from jobs.errors import PlatformError
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings
from jobs.system.private_folder import ensure_private

NAME = "metadata service"
MARK = "metadata-blocked"


def block_metadata(settings: Settings, identity: str) -> None:
    """Insert the missing rules: another program may have flushed them.

    Raises:
        PlatformError: iptables is not installed, or this process lacks the permission.
    """
    # Create the marker first: if we are killed in between, it still shows that rules may exist.
    _mark(settings).touch()
    Firewall(identity).block()


def unblock_metadata(settings: Settings, identity: str) -> None:
    """Delete the rules of an earlier start, if the marker shows that there are any.

    Raises:
        PlatformError: as `block_metadata`.
    """
    mark = _mark(settings)
    if mark.exists():
        Firewall(identity).unblock()
        mark.unlink()


def _mark(settings: Settings) -> Path:
    return ensure_private(settings.run_dir) / MARK


def touches_firewall(settings: Settings) -> bool:
    """Whether rules have to be inserted, or those of an earlier start deleted."""
    return settings.block_metadata or (settings.run_dir / MARK).exists()


def reach_of_metadata(settings: Settings, identity: str) -> Finding:
    """Check whether containers and builds can reach the metadata service, for `keystone doctor`."""
    if not settings.block_metadata:
        found = "containers reach it, where there is one: KEYSTONE_BLOCK_METADATA is off"
        return Finding(NAME, Verdict.IDLE, found)
    if os.geteuid() != 0:
        fix = "run Keystone as root; `keystone doctor` as root looks for the rules"
        return Finding(NAME, Verdict.WARNING, "containers may reach it: the rules take root", fix)
    try:
        if not Firewall(identity).is_blocked():
            fix = "start Keystone as root; its part `firewall` puts the rules in"
            return Finding(NAME, Verdict.WARNING, "containers reach it: rules are missing", fix)
    except PlatformError as exc:
        return Finding(NAME, Verdict.WARNING, f"containers may reach it: {exc}", "install iptables")
    engine = "" if engine_group() else "; the engine does, for `ADD http://…` in a Dockerfile"
    return Finding(NAME, Verdict.OK, f"containers do not reach it{engine}")
