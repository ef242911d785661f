"""Checks everything Keystone needs: what is available, what is missing, and how to fix it.

Read-only: this module creates, migrates and starts nothing.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.doctor.build_check import frontend_of_builds, limits_of_builds
from jobs.doctor.disk_use import MB, describe_data, describe_engine
from jobs.doctor.domains import check_domains
from jobs.doctor.engine_check import check_engine
from jobs.doctor.guarded import Check, run_checks
from jobs.doctor.own_address import check_own_address
from jobs.doctor.reading import identity_of, reading
from jobs.doctor.router_check import check_router
from jobs.doctor.safety import known_escapes, users
from jobs.doctor.secrets_check import keys_health, tokens_health
from jobs.doctor.version import version_that_runs
from jobs.doctor.warm import warm_containers
from jobs.errors import ConfigurationError, KeystoneError, QueueError
from jobs.processes.bus import Bus, connect
from jobs.processes.metadata import reach_of_metadata
from jobs.processes.queue import WorkQueue
from jobs.processes.redis_server import find_redis_server
from jobs.processes.router_server import find_haproxy, is_free, taken_ports
from jobs.processes.router_service import own_ports
from jobs.processes.supervise import is_up
from jobs.reads.dashboard_name import name_advice
from jobs.reads.repositories import search_health
from jobs.records.audit import Tag
from jobs.rules.findings import PATIENCE_S, Finding, Verdict
from jobs.settings import Settings, WorkerSettings
from jobs.storage.migrations.apply import HEAD, allows, schema_of
from jobs.storage.models import AuditEvent
from jobs.storage.sqlite_files import is_sqlite, sqlite_path

# The same versions as in .setup/machine.sh.
OLDEST_PYTHON = (3, 11)
OLDEST_HAPROXY = (2, 6)
_VERSION = re.compile(r"version (\d+)\.(\d+)")


def examine(settings: WorkerSettings) -> list[Finding]:
    """Run all checks; this takes a few seconds at most, whatever is down."""
    up = is_up(settings.data_dir)
    checks: list[Check] = [
        ("python", _python),
        ("version", lambda: version_that_runs(settings, up=up)),
        ("git", lambda: _program("git", shutil.which("git"), ["--version"])),
        ("redis-server", lambda: _redis_server(settings)),
        ("haproxy", lambda: _haproxy(settings)),
        ("docker", check_engine),
        ("known escapes", known_escapes),
        ("users", lambda: users(settings, up=up)),
        ("data directory", lambda: _data_dir(settings.data_dir)),
        ("disk", lambda: _disk(settings)),
        ("engine space", lambda: _engine_space(settings)),
        ("Dockerfile frontend", lambda: frontend_of_builds(settings)),
        ("build limits", lambda: limits_of_builds(settings, identity_of(settings))),
        ("metadata service", lambda: reach_of_metadata(settings, identity_of(settings))),
        ("data space", lambda: Finding("data space", Verdict.OK, describe_data(settings))),
        ("database", lambda: _database(settings)),
        ("backup", lambda: _backup(settings)),
        ("keys", lambda: _secrets(settings)),
        ("redis", lambda: _redis(settings, up=up)),
        ("workers", lambda: _workers(settings, up=up)),
        ("router", lambda: _router(settings, up=up)),
        ("web", lambda: _web_port(settings, up=up)),
        ("app ports", lambda: _app_ports(settings, up=up)),
        ("domains", lambda: check_domains(settings, up=up)),
        ("warm containers", lambda: warm_containers(settings)),
        ("own address", lambda: check_own_address(settings, up=up)),
        ("dashboard name", lambda: _dashboard_name(settings)),
        ("missed pushes", lambda: _missed_pushes(settings)),
    ]
    return run_checks(checks)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", Verdict.OK, found)
    return Finding("python", Verdict.FAILED, found, "install Python 3.11 or newer")


def _program(name: str, path: str | None, arguments: list[str], package: str = "") -> Finding:
    fix = f"apt-get install {package or name}"
    if path is None:
        return Finding(name, Verdict.FAILED, "is not installed", fix)
    try:
        done = subprocess.run(  # noqa: S603 — a program of the machine's own PATH
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding(name, Verdict.FAILED, f"{path} does not run ({type(exc).__name__})", fix)
    return Finding(name, Verdict.OK, f"{done.stdout.splitlines()[0]} ({path})")


def _redis_server(settings: Settings) -> Finding:
    if settings.redis_url:
        return Finding("redis-server", Verdict.OK, "not needed: KEYSTONE_REDIS_URL names a Redis")
    return _program("redis-server", find_redis_server(), ["--version"])


def _haproxy(settings: Settings) -> Finding:
    if settings.router_socket:
        return Finding("haproxy", Verdict.OK, "not needed: KEYSTONE_ROUTER_SOCKET names a router")
    found = _program("haproxy", find_haproxy(), ["-v"])
    told = _VERSION.search(found.found)
    if found.verdict is Verdict.OK and told and tuple(map(int, told.groups())) < OLDEST_HAPROXY:
        wanted = ".".join(map(str, OLDEST_HAPROXY))
        return replace(found, verdict=Verdict.FAILED, fix=f"install HAProxy {wanted} or newer")
    return found


def _data_dir(data_dir: Path) -> Finding:
    if not data_dir.exists():
        parent = next(folder for folder in data_dir.parents if folder.exists())
        if parent.is_dir() and os.access(parent, os.W_OK):
            return Finding("data directory", Verdict.OK, f"{data_dir} will be made")
        fix = f"give this user the right to write to {parent}, or set KEYSTONE_DATA_DIR"
        return Finding("data directory", Verdict.FAILED, f"{data_dir} cannot be made", fix)
    if os.access(data_dir, os.W_OK | os.X_OK):
        return Finding("data directory", Verdict.OK, str(data_dir))
    fix = f"give this user the right to write to {data_dir}, or set KEYSTONE_DATA_DIR"
    return Finding("data directory", Verdict.FAILED, f"{data_dir} is not writable", fix)


def _disk(settings: WorkerSettings) -> Finding:
    data_dir, floor_mb = settings.data_dir, settings.min_free_disk_mb
    folder = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    free_mb = shutil.disk_usage(folder).free // 1024**2
    found = f"{free_mb} MB free at {folder}"
    if free_mb >= floor_mb:
        return Finding("disk", Verdict.OK, found)
    fix = f"make room: below {floor_mb} MB nothing is built (KEYSTONE_MIN_FREE_DISK_MB)"
    return Finding("disk", Verdict.FAILED, found, fix)


def _engine_space(settings: WorkerSettings) -> Finding:
    name, floor = "engine space", settings.min_free_disk_mb * MB
    engine = DockerEngine.from_environment(identity_of(settings), timeout_s=PATIENCE_S)
    try:
        free = engine.free_disk()
        found = describe_engine(engine.usage(), free)
    except KeystoneError:
        # Another finding reports an engine that does not answer.
        return Finding(name, Verdict.IDLE, f"not known: no answer within {PATIENCE_S} s")
    finally:
        engine.close()
    if free is None or free >= floor:
        return Finding(name, Verdict.OK, found)
    fix = f"make room: below {floor // MB} MB nothing is built (KEYSTONE_MIN_FREE_DISK_MB)"
    return Finding(name, Verdict.FAILED, found, fix)


def _database(settings: Settings) -> Finding:
    url = settings.effective_database_url
    if is_sqlite(url) and not sqlite_path(url).exists():
        return Finding("database", Verdict.IDLE, "none yet: `keystone up` makes it")
    try:
        with reading(settings) as session:
            version = schema_of(session.connection())
            is_usable = version == HEAD or bool(version and allows(session.connection(), version))
    except Exception as exc:  # noqa: BLE001 — each driver has errors of its own
        fix = "start the database, or correct KEYSTONE_DATABASE_URL"
        return Finding("database", Verdict.FAILED, f"cannot be used ({type(exc).__name__})", fix)
    if is_usable:
        return Finding("database", Verdict.OK, f"schema {version}")
    found = f"schema {version or 'missing'}, this version needs {HEAD}"
    return Finding("database", Verdict.FAILED, found, "keystone migrate")


def _backup(settings: Settings) -> Finding:
    """Report when the last backup was made; having none is not a failure."""
    made = select(AuditEvent).where(AuditEvent.tag == Tag.KEYSTONE_BACKED_UP)
    try:
        with reading(settings) as session:
            last = session.exec(made.order_by(col(AuditEvent.id).desc()).limit(1)).first()
    except (KeystoneError, SQLAlchemyError):
        last = None  # another finding reports an unusable database
    if last is None:
        return Finding("backup", Verdict.IDLE, "none was made yet: `keystone backup FILE`")
    return Finding("backup", Verdict.OK, f"the last one was made {last.at:%Y-%m-%d %H:%M} UTC")


def _secrets(settings: Settings) -> list[Finding]:
    try:
        with reading(settings) as session:
            told = {"keys": keys_health(session, settings), "tokens": tokens_health(session)}
    except ConfigurationError as exc:
        return [Finding("keys", Verdict.FAILED, "a key is missing or unusable", str(exc))]
    except (KeystoneError, SQLAlchemyError):
        told = {}  # another finding reports an unusable database
    return [
        Finding(name, Verdict.FAILED if health.fix else Verdict.OK, health.found, health.fix)
        for name, health in told.items()
    ]


def _redis(settings: Settings, *, up: bool) -> Finding:
    if not settings.redis_url and not up:
        return Finding("redis", Verdict.IDLE, "starts with `keystone up`")
    fix = "correct KEYSTONE_REDIS_URL, or start that Redis"
    return _asked(
        "redis",
        lambda: _pong(settings.effective_redis_url),
        fix if settings.redis_url else "see what `keystone up` prints of redis",
    )


def _pong(url: str) -> str:
    Bus(connect(url), "doctor").ping()
    return "answers"


def _workers(settings: Settings, *, up: bool) -> Finding:
    name = "workers"
    if not up:
        return Finding(name, Verdict.IDLE, "start with `keystone up`")
    identity = identity_of(settings)
    try:
        queue = WorkQueue(connect(settings.effective_redis_url), identity)
        alive = queue.workers_alive() if identity else None
    except QueueError:
        alive = None
    if alive is None:
        # Other findings report an unusable Redis or database.
        return Finding(name, Verdict.IDLE, "not known")
    if alive:
        return Finding(name, Verdict.OK, f"{alive} heard of within a minute")
    fix = "see what `keystone up` prints of worker"
    return Finding(name, Verdict.FAILED, "none was heard of within a minute", fix)


def _router(settings: Settings, *, up: bool) -> list[Finding]:
    found = check_router(settings, up=up)
    if found.verdict in {Verdict.IDLE, Verdict.FAILED}:
        return [found]
    try:
        unbelieved = HAProxyRouter(settings.effective_router_socket).unbelieved_proxies()
    except KeystoneError:
        return [found]
    return [found, _proxies(settings, unbelieved)]


def _proxies(settings: Settings, unbelieved: Sequence[str]) -> Finding:
    """Report the trusted proxies, and addresses that sent proxy headers without being trusted.

    An unknown address is no failure: somebody else nearby may have sent such headers.
    """
    trusted = ", ".join(map(str, settings.trusted_proxies)) or "none"
    if not unbelieved:
        return Finding("proxies", Verdict.OK, f"believed: {trusted}")
    found = (
        f"X-Forwarded-For of {', '.join(unbelieved)} is not believed: if a proxy of yours is "
        "there, name it in KEYSTONE_TRUSTED_PROXIES"
    )
    return Finding("proxies", Verdict.IDLE, found)


def _dashboard_name(settings: Settings) -> Finding:
    name = "dashboard name"
    try:
        with reading(settings) as session:
            advice = name_advice(session, settings)
    except (KeystoneError, SQLAlchemyError):
        # Another finding reports an unusable database.
        return Finding(name, Verdict.IDLE, "not known")
    if advice:
        return Finding(name, Verdict.IDLE, f"the dashboard {advice}")
    return Finding(name, Verdict.OK, settings.dashboard_name or "none of its own, and none needed")


def _asked(name: str, ask: Callable[[], str], fix: str) -> Finding:
    try:
        return Finding(name, Verdict.OK, ask())
    except KeystoneError as exc:
        return Finding(name, Verdict.FAILED, str(exc), fix)


def _web_port(settings: Settings, *, up: bool) -> Finding:
    where = f"{settings.host}:{settings.port}"
    if up:
        fix = "see what `keystone up` prints of web"
        return _asked("web", lambda: _reached(settings.host, settings.port), fix)
    try:
        if is_free(settings.host, settings.port):
            return Finding("web", Verdict.IDLE, f"{where} is free; starts with `keystone up`")
    except KeystoneError as exc:
        return Finding("web", Verdict.FAILED, str(exc), "correct KEYSTONE_HOST")
    fix = "stop that program, or set KEYSTONE_PORT"
    return Finding("web", Verdict.FAILED, f"another program listens on {where}", fix)


def _reached(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), timeout=PATIENCE_S):
            return f"listens on {host}:{port}"
    except OSError as exc:
        raise KeystoneError(f"{host}:{port} does not answer ({exc.strerror})") from exc


def _app_ports(settings: Settings, *, up: bool) -> Finding:
    if up:
        # The running router itself listens on all free ports, so they cannot be probed now.
        return Finding("app ports", Verdict.OK, f"{settings.app_bind}, {settings.port_range}")
    try:
        own = own_ports(settings)  # the router may run without Keystone
        taken = taken_ports(settings.app_bind, settings.port_range, own=own)
    except KeystoneError as exc:
        return Finding("app ports", Verdict.FAILED, str(exc), "correct KEYSTONE_APP_BIND")
    free = len(settings.port_range) - len(taken)
    found = f"{free} of {settings.port_range} are free on {settings.app_bind}"
    if free:
        return Finding("app ports", Verdict.OK, found)
    return Finding("app ports", Verdict.FAILED, found, "set another KEYSTONE_PORT_RANGE")


def _missed_pushes(settings: Settings) -> Finding:
    name = "missed pushes"
    try:
        with reading(settings) as session:
            health = search_health(session, every_minutes=settings.catch_up_minutes)
    except (KeystoneError, SQLAlchemyError):
        # Another finding reports an unusable database.
        return Finding(name, Verdict.IDLE, "not known")
    if not health.late:
        return Finding(name, Verdict.OK, health.words)
    fix = "mend the token or the connection; `keystone hook install APP` mends a webhook"
    return Finding(name, Verdict.FAILED, "; ".join((health.words, *map(str, health.late))), fix)
