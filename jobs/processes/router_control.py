"""Starts, reloads and stops the router's keeper, for whoever runs Keystone.

The supervisor imports this module, so it imports no database.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import RouterError
from jobs.processes.router_options import (
    EXIT_TAKEN,
    GENERATION,
    LOCK_FILE,
    LOG_FILE,
    read_state,
)
from jobs.settings import PREFIX
from jobs.system.file_lock import is_held
from jobs.system.haproxy_process import binary_of, find_master
from jobs.system.installation import python
from jobs.system.proc import children_of, is_there, runs_module

STARTED_WITHIN_S = 20.0
RELOADED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
LEFT_WITHIN_S = 30.0
POLL_S = 0.02
MODULE = "jobs.processes.router_keeper"
DETACH, STOP, OWNER = "--detach", "--stop", "--owner"


@dataclass(frozen=True)
class RouterState:
    """What the keeper noted last.

    Attributes:
        keeper: the keeper's process id.
        command: the keeper's arguments.
        user: the id of the keeper's user.
        haproxy: the process id of HAProxy's master; 0 when it does not run.
        since: when HAProxy was started, in seconds since the epoch.
        binary: identifies the program file that HAProxy was started or reloaded from.
        reloads: how often this keeper has reloaded it.
        error: why the last reload or start failed; empty when it succeeded.
    """

    keeper: int
    command: tuple[str, ...]
    generation: int
    user: int
    haproxy: int
    since: float
    binary: tuple[int, ...]
    reloads: int
    error: str


def router_state(run_dir: Path) -> RouterState | None:
    """Read what the keeper noted; None when it noted nothing."""
    found: Mapping[str, object] = read_state(run_dir)
    try:
        return RouterState(
            keeper=_number(found["keeper"]),
            command=tuple(map(str, _list(found["command"]))),
            generation=_number(found["generation"]),
            user=_number(found["user"]),
            haproxy=_number(found["haproxy"]),
            since=float(str(found["haproxy_since"])),
            binary=tuple(map(_number, _list(found["binary"]))),
            reloads=_number(found["reloads"]),
            error=str(found["trouble"] or found["reload_error"]),
        )
    except (KeyError, ValueError):
        return None


def _number(value: object) -> int:
    return int(str(value))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def is_kept(run_dir: Path) -> bool:
    """Whether a keeper runs."""
    return is_held(run_dir / LOCK_FILE)


def keeper_command(arguments: Sequence[str]) -> list[str]:
    """Give the command line of a keeper in the foreground."""
    # With -P, Python does not import a folder named `jobs` from the current directory.
    return [python(), "-P", "-m", MODULE, *arguments]


def keeper_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the keeper's environment: it is told everything by its arguments."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}


def start_keeper(arguments: Sequence[str]) -> None:
    """Start a keeper in the background that outlives this process; another one may be there.

    Raises:
        RouterError: it does not start.
    """
    try:
        done = subprocess.run(  # noqa: S603 — our own command line, no shell
            [*keeper_command(arguments), DETACH],
            cwd="/",
            env=keeper_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=STARTED_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise RouterError(f"the router's keeper does not start: {exc}") from exc
    if done.returncode not in {0, EXIT_TAKEN}:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RouterError(f"the router's keeper does not start: {said[-1] if said else '?'}")


def keeper_pid(run_dir: Path) -> int | None:
    """Give the process id of the running keeper; None when there is none."""
    state = router_state(run_dir)
    if state is None or not is_kept(run_dir):
        return None
    return state.keeper if runs_module(state.keeper, MODULE) else None


def ensure_keeper(run_dir: Path, arguments: Sequence[str]) -> None:
    """Have a keeper with these arguments and of this code; a replaced one leaves HAProxy running.

    Raises:
        RouterError: it does not start.
    """
    state = router_state(run_dir)
    if state is not None and is_kept(run_dir):
        given = tuple(word for word in state.command if word != DETACH)
        if given == tuple(arguments) and state.generation == GENERATION:
            return
        leave(run_dir)
    start_keeper(arguments)


def renew_keeper(run_dir: Path, arguments: Sequence[str]) -> None:
    """Have whoever runs the keeper start it again, unless it has these arguments and this code.

    Keepers that are started by systemd come back by themselves; HAProxy runs on in the meantime.
    """
    state = router_state(run_dir)
    if state is None or not is_kept(run_dir):
        return
    if state.command != tuple(arguments) or state.generation != GENERATION:
        leave(run_dir)
        _wait_until(lambda: keeper_pid(run_dir) not in (None, state.keeper), STARTED_WITHIN_S)


def leave(run_dir: Path) -> None:
    """End the keeper without stopping HAProxy."""
    if pid := keeper_pid(run_dir):
        _send(pid, signal.SIGUSR1)
        _wait_until(lambda: not is_kept(run_dir), LEFT_WITHIN_S)


def reload_router(run_dir: Path) -> None:
    """Let the running router load its configuration and its binary again, and wait for the result.

    Raises:
        RouterError: there is no keeper, or the reload failed; the router serves as before.
    """
    if is_kept(run_dir):
        # A keeper that has just been started has not noted yet that it runs.
        _wait_until(lambda: keeper_pid(run_dir), STARTED_WITHIN_S)
    state, pid = router_state(run_dir), keeper_pid(run_dir)
    if state is None or pid is None:
        raise RouterError("no router runs; `keystone up` starts it")
    _send(pid, signal.SIGHUP)

    def after() -> RouterState | None:
        found = router_state(run_dir)
        return found if found and (found.keeper, found.reloads) != (pid, state.reloads) else None

    if not _wait_until(after, RELOADED_WITHIN_S):
        raise RouterError(f"the router's keeper does not answer; see {run_dir / LOG_FILE}")
    found = after()
    if found and found.error:
        raise RouterError(f"the router could not be reloaded: {found.error}")


def stop_keeper(run_dir: Path, config: Path, arguments: Sequence[str]) -> None:
    """Stop the router and its keeper; an HAProxy without a keeper, too.

    Raises:
        RouterError: it does not end.
    """
    if pid := keeper_pid(run_dir):
        _send(pid, signal.SIGTERM)
        _wait_until(lambda: not is_there(pid), STOPPED_WITHIN_S)
    if runs(config):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(  # noqa: S603 — our own command line, no shell
                [*keeper_command(arguments), STOP],
                cwd="/",
                env=keeper_environment(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=STOPPED_WITHIN_S,
                check=False,
            )
    if runs(config):
        raise RouterError(f"the router does not end; see {run_dir / LOG_FILE}")


def runs(config: Path) -> bool:
    """Whether an HAProxy with this configuration runs, with or without a keeper."""
    return bool(haproxy_pids(config))


def haproxy_pids(config: Path) -> list[int]:
    """Give the process ids of the HAProxy with this configuration: its master's, its workers'."""
    master = find_master(config)
    if master is None:
        return []
    os.close(master.pidfd)
    return master.family


def is_outdated(state: RouterState, program: Path) -> bool:
    """Whether the program file of HAProxy has changed since HAProxy was started or reloaded."""
    try:
        return bool(state.binary) and tuple(binary_of(program)) != state.binary
    except OSError:
        return False


def router_pids(run_dir: Path) -> list[int]:
    """Give the process ids of the keeper, of HAProxy's master and of its workers."""
    state = router_state(run_dir)
    if state is None or keeper_pid(run_dir) is None:
        return []
    return [state.keeper, *([state.haproxy, *children_of(state.haproxy)] if state.haproxy else [])]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_until(look: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
