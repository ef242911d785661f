"""Decides whether Keystone's parts can run as separate users, and with which rights.

They can when root starts Keystone, the users exist, and each user has access to what it needs: the
program, the path to the data directory, the engine, the database. Otherwise every part runs as the
user that starts Keystone, and the reason is reported.
"""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from jobs.errors import StorageError
from jobs.processes.data_ownership import hand_out, take_back
from jobs.processes.docker_login_copy import told_to_workers
from jobs.processes.separation_checks import (
    HOME,
    Check,
    ask_all,
    checks_of_data,
    checks_of_surroundings,
)
from jobs.settings import Settings
from jobs.system import privileges
from jobs.system.part_users import ROOT, PartUser, PartUsers, find_users
from jobs.system.privileges import Rights
from jobs.system.run_as import run_as

NOTE = "users.json"
UNKNOWN_FIX = "see what the system says of that user"
DATA_FIX = (
    "the data directory needs folders of root's own, without links, on a file system that keeps "
    "owners; start Keystone again then"
)
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# HAProxy needs these while it starts: to listen, to raise its limit to the configured number of
# connections, to read the files of the workers' user, to change its socket's owner, to chroot and
# to change its user; and later to end the serving process.
ROUTER_CAPABILITIES = (
    privileges.CAP_CHOWN,
    privileges.CAP_DAC_READ_SEARCH,
    privileges.CAP_FOWNER,
    privileges.CAP_KILL,
    privileges.CAP_SETGID,
    privileges.CAP_SETUID,
    privileges.CAP_SETPCAP,
    privileges.CAP_NET_BIND_SERVICE,
    privileges.CAP_SYS_CHROOT,
    privileges.CAP_SYS_RESOURCE,
)
# For the part that maintains the packet filter; it also opens the database of another user.
FIREWALL_CAPABILITIES = (
    privileges.CAP_DAC_OVERRIDE,
    privileges.CAP_NET_ADMIN,
    privileges.CAP_NET_RAW,
)


@dataclass(frozen=True)
class Together:
    """Every part runs as the user that starts Keystone.

    Attributes:
        reason: why parts started by root are not separated; empty when another user starts them.
        fix: how to fix it.
    """

    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Apart:
    """Each part runs as its own user.

    Attributes:
        rights: by the part's name.
        told: environment variables, by the part's name.
    """

    users: PartUsers
    rights: Mapping[str, Rights]
    told: Mapping[str, Mapping[str, str]]


def separate(settings: Settings, environ: Mapping[str, str]) -> Apart | Together:
    """Decide, and change the data directory's owners to match. The database must be closed."""
    found = judge(settings, environ)
    if isinstance(found, Apart):
        try:
            hand_out(settings, found.users)
            problem, _ = first_problem(found, checks_of_data(settings))
        except (OSError, RecursionError, StorageError) as exc:
            problem = str(exc)
        found = Together(problem, DATA_FIX) if problem else found
    users = find_users()
    if isinstance(found, Together) and users and os.getuid() == ROOT:
        take_back(settings, users)
    return found


def judge(settings: Settings, environ: Mapping[str, str]) -> Apart | Together:
    """Decide without changing anything."""
    if os.getuid() != ROOT:
        return Together()
    users = find_users()
    if users is None:
        return Together(
            "the system users that its parts would run as are missing",
            "run `make setup` as root, and start Keystone again",
        )
    apart = _apart(settings, users, environ)
    checks = checks_of_surroundings(settings, engine_socket(environ))
    problem, fix = first_problem(apart, checks)
    return Together(problem, f"{fix}, and start Keystone again") if problem else apart


def first_problem(apart: Apart, checks: Mapping[str, Sequence[Check]]) -> tuple[str, str]:
    """Run each part's checks as the part's user; give the first problem, and its fix.

    Args:
        checks: by the part's name.

    Returns:
        two empty texts when there is no problem.
    """
    for part, asked in checks.items():
        if told := run_as(apart.rights[part], partial(ask_all, asked)):
            problem, _, fix = told.partition("\n")
            return f"the user {apart.told[part]['USER']} {problem}", fix or UNKNOWN_FIX
    return "", ""


def note_users(settings: Settings, found: Apart | Together) -> None:
    """Store the decision for the Keystone that is about to start, for `noted_users`."""
    told = [] if isinstance(found, Apart) else [found.reason, found.fix]
    (settings.run_dir / NOTE).write_text(json.dumps(told), encoding="utf-8")


def noted_users(settings: Settings) -> Together | None:
    """Give the reason why the running Keystone's parts are not separated; None when they are.

    Raises:
        StorageError: the decision was not stored.
    """
    try:
        told = json.loads((settings.run_dir / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StorageError("it is not known which users the parts run as") from exc
    return Together(*told) if told else None


def _apart(settings: Settings, users: PartUsers, environ: Mapping[str, str]) -> Apart:
    work, web, redis = users.work, users.web, users.redis
    # The workers' files, mainly logs, belong to the web process's group.
    workers = Rights(work.uid, web.gid, (work.gid, *_engine_groups(environ)))
    listens = (privileges.CAP_NET_BIND_SERVICE,) if _needs_right(settings.port) else ()
    rights = {
        "redis": Rights(redis.uid, redis.gid, (work.gid,)),
        "router": Rights(ROOT, ROOT, (), ROUTER_CAPABILITIES),
        "firewall": Rights(ROOT, ROOT, (), FIREWALL_CAPABILITIES),
        "watcher": workers,
        "worker": workers,
        "quick-worker": workers,
        "web": Rights(web.uid, web.gid, (work.gid,), listens),
    }
    docker = told_to_workers(environ, settings.docker_dir)
    told = {
        "redis": _person(redis),
        "router": _person(work),
        "firewall": _person(work),
        "watcher": _person(work) | docker,
        "worker": _person(work) | docker,
        "quick-worker": _person(work) | docker,
        "web": _person(web),
    }
    return Apart(users, rights, told)


def _person(user: PartUser) -> dict[str, str]:
    return {"HOME": HOME, "USER": user.name, "LOGNAME": user.name}


def _needs_right(port: int) -> bool:
    try:
        return port < int(FIRST_FREE_PORT.read_text(encoding="utf-8"))
    except OSError:
        return True


def _engine_groups(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Give the group with access to the engine's socket, if there is one."""
    engine = engine_socket(environ)
    try:
        found = engine.stat() if engine else None
    except OSError:
        return ()
    needed = stat.S_IRGRP | stat.S_IWGRP
    may_use = found is not None and found.st_mode & needed == needed
    return (found.st_gid,) if found and may_use and found.st_gid != ROOT else ()


def engine_socket(environ: Mapping[str, str]) -> Path | None:
    """Give the engine's Unix socket; None when the engine is not reached by one."""
    address = urlsplit(environ.get("DOCKER_HOST") or DEFAULT_ENGINE)
    return Path(address.path) if address.scheme == "unix" else None
