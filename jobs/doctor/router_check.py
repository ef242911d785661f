"""Checks the router: whose it is, since when it runs, and whether what it runs is current."""

import pwd
from datetime import UTC, datetime
from pathlib import Path

from jobs.adapters.haproxy.config import description_of
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.runtime_api import MASTER_SOCKET
from jobs.errors import KeystoneError
from jobs.processes.router_control import (
    RouterState,
    is_kept,
    is_outdated,
    router_state,
    runs,
)
from jobs.processes.router_options import LOG_FILE
from jobs.processes.router_server import find_haproxy
from jobs.processes.router_service import configuration_file
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings
from jobs.system.haproxy_process import old_workers

NAME = "router"
REWRITE = "start Keystone again; a HAProxy of your own: `keystone router --write`, then reload it"
RELOAD = "`keystone router --reload` loads it; no request fails"


def check_router(settings: Settings, *, up: bool) -> Finding:
    """Check the router that serves the apps."""
    is_ours = not settings.router_socket
    if not up and not (is_ours and runs(configuration_file(settings))):
        return Finding(NAME, Verdict.IDLE, "starts with `keystone up`")
    router = HAProxyRouter(settings.effective_router_socket)
    try:
        found = f"HAProxy {router.version()} answers"
        if not router.is_current():
            return Finding(NAME, Verdict.FAILED, f"{found}, set up by an older Keystone", REWRITE)
        running = router.description()
    except KeystoneError as exc:
        return Finding(NAME, Verdict.FAILED, str(exc), _see_log(settings))
    if settings.router_socket:
        return Finding(NAME, Verdict.OK, f"{found}; you run it")
    return _own(settings, found, running)


def _own(settings: Settings, found: str, running: str) -> Finding:
    state = router_state(settings.run_dir)
    if state is None or not is_kept(settings.run_dir):
        told = f"{found}, but it has no keeper that would start it again"
        return Finding(NAME, Verdict.WARNING, told, "`keystone up` starts one")
    found = f"{found}; {_whose(state)}{_former(settings)}"
    if state.error:
        return Finding(NAME, Verdict.FAILED, f"{found}; {state.error}", _see_log(settings))
    if running != description_of(_text(configuration_file(settings))):
        told = f"{found}; its configuration is older than the written one"
        return Finding(NAME, Verdict.WARNING, told, RELOAD)
    program = find_haproxy()
    if program and is_outdated(state, Path(program)):
        told = f"{found}; {program} has changed since"
        return Finding(NAME, Verdict.WARNING, told, RELOAD)
    return Finding(NAME, Verdict.OK, f"{found}; configuration {running.rpartition(' ')[2]}")


def _whose(state: RouterState) -> str:
    since = datetime.fromtimestamp(state.since, UTC).strftime("%Y-%m-%d %H:%M")
    reloads = f", {state.reloads} reloads" if state.reloads else ""
    return f"process {state.haproxy} since {since} UTC{reloads}, kept by {_user(state)}"


def _user(state: RouterState) -> str:
    try:
        name = pwd.getpwuid(state.user).pw_name
    except KeyError:
        name = str(state.user)
    return f"{name}'s process {state.keeper}"


def _former(settings: Settings) -> str:
    count = len(old_workers(settings.socket_dir / MASTER_SOCKET))
    if not count:
        return ""
    return f"; {count} earlier process{'' if count == 1 else 'es'} of it still finish connections"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _see_log(settings: Settings) -> str:
    if settings.router_socket:
        return "see what your HAProxy says"
    return f"see what `keystone up` prints of the router, and {settings.run_dir / LOG_FILE}"
