"""The router as a service of its own: brought up to date by `keystone up`, and outliving it."""

import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jobs.adapters.haproxy.config import description_of
from jobs.adapters.haproxy.files import CONFIGURATION
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.runtime_api import MASTER_SOCKET
from jobs.errors import ConflictError, PlatformError, RouterError
from jobs.processes.router_control import (
    OWNER,
    ensure_keeper,
    haproxy_pids,
    is_outdated,
    reload_router,
    renew_keeper,
    router_state,
    runs,
    stop_keeper,
)
from jobs.processes.router_server import installed_haproxy, write_configuration
from jobs.processes.runtime import open_runtime
from jobs.processes.separation import Apart, Together, noted_users
from jobs.processes.supervise import is_up, supervisor_pid
from jobs.settings import Settings
from jobs.storage.kept_open import kept_open
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.system.listening import port_spans, ports_of, ports_within
from jobs.system.part_users import ROOT, PartUsers, find_users
from jobs.system.privileges import CAP_NET_BIND_SERVICE, Rights
from jobs.system.run_as import run_as

logger = logging.getLogger(__name__)

# The supervisor stops its processes one after the other, and waits 30 s for the slowest ones.
STOPPED_WITHIN_S = 120.0
POLL_S = 0.1


def bring_up(
    settings: Settings,
    users: Apart | Together,
    arguments: Sequence[str],
    *,
    keeper_elsewhere: bool = False,
) -> None:
    """Have a router run with the current configuration; one that runs is adopted.

    Args:
        settings: the settings.
        users: the users that Keystone's parts run as.
        arguments: from `keeper_arguments`.
        keeper_elsewhere: whether another service, like a unit of systemd, runs the keeper.

    Raises:
        ConfigurationError: HAProxy is not installed, or the address or every port is unusable.
        StorageError: the database or a folder cannot be used.
        RouterError: the keeper does not start, or the router refuses the configuration: it serves
            the previous one then.
    """
    was_running = runs(configuration_file(settings))
    write_files(settings, users.users if isinstance(users, Apart) else None)
    if keeper_elsewhere:
        renew_keeper(settings.run_dir, arguments)
    else:
        ensure_keeper(settings.run_dir, arguments)
    if (was_running and not is_as_written(settings)) or _is_failing(settings):
        reload_router(settings.run_dir)


def keeper_arguments(
    settings: Settings, users: Apart | Together, *, owner: int | None = None
) -> list[str]:
    """Give the keeper's arguments.

    Args:
        settings: the settings.
        users: the users that Keystone's parts run as.
        owner: the process whose end stops the router; None: the router outlives all others.

    Raises:
        ConfigurationError: HAProxy is not installed.
    """
    apart = users if isinstance(users, Apart) else None
    return [
        *("--run", str(settings.run_dir), "--config", str(configuration_file(settings))),
        *("--master", str(settings.socket_dir / MASTER_SOCKET)),
        *("--api", str(settings.effective_router_socket), "--haproxy", installed_haproxy()),
        *(("--admin", apart.users.work.name) if apart else ()),
        *(("--rights", apart.rights["router"].to_text()) if apart else ()),
        *((OWNER, str(owner)) if owner is not None else ()),
    ]


def configuration_file(settings: Settings) -> Path:
    """Give the path of the router's configuration."""
    return settings.router_dir / CONFIGURATION


def write_files(settings: Settings, users: PartUsers | None) -> None:
    """Write the configuration and its files from the database.

    With separate users, the workers' user writes: root must not open a database others write.

    Raises:
        ConfigurationError: the address or every port is unusable.
        PlatformError: it cannot be written.
    """
    own = own_ports(settings)
    if users is None:
        runtime = open_runtime(settings)
        try:
            write_configuration(runtime, own=own)
        finally:
            runtime.database.close()
        return
    work = users.work
    writer = Rights(work.uid, users.web.gid, (work.gid,), (CAP_NET_BIND_SERVICE,))

    def write() -> str:
        write_configuration(open_runtime(settings), users=users, own=own)
        return ""

    url = settings.effective_database_url
    with kept_open(sqlite_path(url) if is_sqlite(url) else None):
        problem = run_as(writer, write)
    if problem:
        raise PlatformError(problem)


def separate_users(settings: Settings) -> PartUsers | None:
    """Give the users that the parts of the last `keystone up` run as; None: one user runs all."""
    if os.getuid() != ROOT:
        return None
    with suppress(PlatformError):
        return find_users() if noted_users(settings) is None else None
    return None


def own_ports(settings: Settings) -> frozenset[int]:
    """Give the ports that our running router listens on."""
    pids = [] if settings.router_socket else haproxy_pids(configuration_file(settings))
    if not pids:
        return frozenset()
    # A service of systemd may not look at other processes, even of root: they have more rights.
    return ports_of(pids) or _written_ports(settings)


def _written_ports(settings: Settings) -> frozenset[int]:
    """Give the ports that the written configuration names."""
    try:
        text = configuration_file(settings).read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return ports_within(port_spans(text))


def is_as_written(settings: Settings) -> bool:
    """Whether the running router has the written configuration and the installed program."""
    state = router_state(settings.run_dir)
    if state is None or is_outdated(state, Path(installed_haproxy())):
        return False
    try:
        written = configuration_file(settings).read_text(encoding="utf-8")
        running = HAProxyRouter(settings.effective_router_socket, patience_s=5.0).description()
    except (OSError, RouterError):
        return False
    return running == description_of(written)


def _is_failing(settings: Settings) -> bool:
    state = router_state(settings.run_dir)
    return state is not None and bool(state.error)


def stop_router(settings: Settings) -> None:
    """Stop the router and its keeper; what they served is off air.

    Raises:
        RouterError: it does not end.
    """
    if not settings.router_socket:
        arguments = keeper_arguments(settings, Together())
        stop_keeper(settings.run_dir, configuration_file(settings), arguments)


def stop_keystone(settings: Settings) -> bool:
    """Stop a running `keystone up`, and wait until it has ended; False when there was none.

    Raises:
        ConflictError: it does not end.
    """
    if not is_up(settings.data_dir):
        return False
    deadline = time.monotonic() + STOPPED_WITHIN_S
    told: int | None = None
    while is_up(settings.data_dir):
        pid = supervisor_pid(settings.run_dir)
        if pid is not None and pid != told:
            os.kill(pid, signal.SIGTERM)
            told = pid
        if time.monotonic() > deadline:
            raise ConflictError(f"`keystone up` does not end (process {told or 'unknown'})")
        time.sleep(POLL_S)
    return True
