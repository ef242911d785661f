"""Keeping containers and builds from the cloud's metadata service, for as long as they shall be.

The rules outlive Keystone, as the containers do. A mark in the data directory remembers that they
were put in, so that they are taken out once the setting is off again.
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
    """Put in what is missing of the rules: others may have flushed them.

    Raises:
        PlatformError: there is no iptables here, or this process may not.
    """
    # First the mark: killed in between, we would not know that there is something to take out.
    _mark(settings).touch()
    Firewall(identity).block()


def unblock_metadata(settings: Settings, identity: str) -> None:
    """Take out the rules of an earlier start, if it was to have them.

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
    """Whether rules are to be put in, or those of an earlier start to be taken out."""
    return settings.block_metadata or (settings.run_dir / MARK).exists()


def reach_of_metadata(settings: Settings, identity: str) -> Finding:
    """Say whether containers and builds reach the metadata service, for `keystone doctor`."""
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
