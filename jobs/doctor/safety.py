"""Checks for `keystone doctor` how safely Keystone runs: its users and its engine. Read-only."""

import os

from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import KeystoneError
from jobs.processes.separation import Together, judge, noted_users
from jobs.rules.findings import PATIENCE_S, Finding, Verdict
from jobs.rules.known_escapes import find_suspects
from jobs.settings import Settings
from jobs.system.part_users import REDIS, ROOT, ROUTER, WEB, WORK

# For a distribution's package, whose version does not show which flaws are fixed.
UNSURE = "; your distribution's security tracker says what its packages have fixed"


def known_escapes() -> Finding:
    """Report whether this version of the engine or runc has known container or build escapes."""
    name = "known escapes"
    engine = DockerEngine.from_environment("doctor", timeout_s=PATIENCE_S)
    try:
        suspects = find_suspects(engine.components())
    except KeystoneError:
        # Another finding reports an engine that does not answer.
        return Finding(name, Verdict.IDLE, "not known: the engine does not answer")
    finally:
        engine.close()
    if not suspects:
        return Finding(name, Verdict.OK, "none in these versions of the engine and runc")
    found = ", ".join(
        f"{suspect.name} {'has' if suspect.is_sure else 'may have'} {len(suspect.flaws)}"
        for suspect in suspects
    )
    listed = "; ".join(f"{suspect.name}: {', '.join(suspect.flaws)}" for suspect in suspects)
    asked = "" if all(suspect.is_sure for suspect in suspects) else UNSURE
    return Finding(name, Verdict.WARNING, found, f"update what can be updated{asked}. {listed}")


def users(settings: Settings, *, up: bool) -> Finding:
    """Report whether Keystone's processes run as separate users."""
    name = "users"
    if os.getuid() != ROOT:
        found = f"everything runs as the user that starts Keystone (you are {os.getuid()})"
        return Finding(name, Verdict.OK, found)
    try:
        together = noted_users(settings) if up else _judged(settings)
    except KeystoneError as exc:
        return Finding(name, Verdict.WARNING, str(exc), "start Keystone again")
    if together is None:
        apart = f"{WEB}, {REDIS}, {ROUTER}, {WORK} (workers, watcher)"
        return Finding(name, Verdict.OK, f"apart: {apart}; the supervisor is root")
    found = f"everything runs as {'root: ' if together.reason else 'one user'}{together.reason}"
    return Finding(name, Verdict.WARNING, found, together.fix or "start it as root: `make run`")


def _judged(settings: Settings) -> Together | None:
    found = judge(settings, os.environ)
    return found if isinstance(found, Together) else None
