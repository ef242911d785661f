"""Deciding whether the parts of Keystone can run as users of their own, and with which rights.

They can when root starts it, the users are there, and each of them can reach what it needs: the
program, the way to the data directory, the engine, the database. Otherwise every part runs as the
user that starts Keystone, and the reason is told.
"""

import importlib.util
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import text

from jobs import privileges
from jobs.data_ownership import hand_out, take_back
from jobs.database import Database
from jobs.docker_login_copy import told_to_workers
from jobs.errors import KeystoneError, StorageError
from jobs.part_users import ROOT, PartUser, PartUsers, find_users
from jobs.privileges import Rights
from jobs.redis_server import find_redis_server
from jobs.run_as import run_as
from jobs.settings import Settings
from jobs.sqlite_files import is_sqlite, sqlite_path
from jobs.vault import KEY_FILE

NOTE = "users.json"
HOME = "/nonexistent"
GOOD_PLACE = "/opt/keystone"
DATA_FIX = (
    "the data directory needs folders of root's own, without links, on a file system that keeps "
    "owners; start Keystone again then"
)
DEFAULT_ENGINE = "unix:///var/run/docker.sock"
PATIENCE_S = 2.0
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
# Packages of ours, and those of others that only the parts import.
OURS = ("jobs", "receiver", "dashboard")
LATER = ("docker", "github", "h2", "httptools", "jinja2", "rq", "starlette", "uvicorn", "uvloop")
# Of HAProxy while it starts: to listen, to read what the workers' user has written, to give away
# its socket, to shut itself in and become another user; and to end the process that serves.
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
)

Question = Callable[[], str]


@dataclass(frozen=True)
class Together:
    """Every part runs as the user that starts Keystone.

    Attributes:
        reason: why root's parts are not apart; empty when it is not root who starts it.
        fix: what to do about it.
    """

    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Apart:
    """Each part runs as a user of its own.

    Attributes:
        rights: by the names of the parts.
        told: environment variables, by the names of the parts.
    """

    users: PartUsers
    rights: Mapping[str, Rights]
    told: Mapping[str, Mapping[str, str]]


def separate(settings: Settings, environ: Mapping[str, str]) -> Apart | Together:
    """Decide, and give the data directory to whom it then belongs. Its database must be closed."""
    found = judge(settings, environ)
    if isinstance(found, Apart):
        try:
            hand_out(settings, found.users)
            problem = _first(_owners_questions(settings, found))
        except (OSError, RecursionError, StorageError) as exc:
            problem = str(exc)
        if problem:
            found = Together(problem, DATA_FIX)
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
    for problem, fix in (
        (_first(_program_questions(settings, apart)), f"move Keystone to {GOOD_PLACE}"),
        (_first(_service_questions(settings, apart, environ)), "let that user in"),
    ):
        if problem:
            return Together(problem, f"{fix}, and start Keystone again")
    return apart


def note_users(settings: Settings, found: Apart | Together) -> None:
    """Write down what was decided for the Keystone that is about to run, for `noted_users`."""
    told = [] if isinstance(found, Apart) else [found.reason, found.fix]
    (settings.run_dir / NOTE).write_text(json.dumps(told))


def noted_users(settings: Settings) -> Together | None:
    """Give why the parts of the Keystone that runs are not apart; None when they are.

    Raises:
        StorageError: it was not written down.
    """
    try:
        told = json.loads((settings.run_dir / NOTE).read_text())
    except (OSError, ValueError) as exc:
        raise StorageError("it is not known whom the parts run as") from exc
    return Together(*told) if told else None


def _apart(settings: Settings, users: PartUsers, environ: Mapping[str, str]) -> Apart:
    work, web, redis = users.work, users.web, users.redis
    # What they make, logs above all, belongs to the group that the web process is in.
    workers = Rights(work.uid, web.gid, (work.gid, *_engine_groups(environ)))
    listens = (privileges.CAP_NET_BIND_SERVICE,) if _needs_right(settings.port) else ()
    rights = {
        "redis": Rights(redis.uid, redis.gid, (work.gid,)),
        "router": Rights(ROOT, ROOT, (), ROUTER_CAPABILITIES),
        "watcher": workers,
        "worker": workers,
        "web": Rights(web.uid, web.gid, (work.gid,), listens),
    }
    docker = told_to_workers(environ, settings.docker_dir)
    told = {
        "redis": _person(redis),
        "router": _person(work),
        "watcher": _person(work) | docker,
        "worker": _person(work) | docker,
        "web": _person(web),
    }
    return Apart(users, rights, told)


def _person(user: PartUser) -> dict[str, str]:
    return {"HOME": HOME, "USER": user.name, "LOGNAME": user.name}


def _needs_right(port: int) -> bool:
    try:
        return port < int(FIRST_FREE_PORT.read_text())
    except OSError:
        return True


def _engine_groups(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Give the group that may use the engine's socket, if there is such a group."""
    engine = _engine_socket(environ)
    try:
        found = engine.stat() if engine else None
    except OSError:
        return ()
    needed = stat.S_IRGRP | stat.S_IWGRP
    may_use = found is not None and found.st_mode & needed == needed
    return (found.st_gid,) if found and may_use and found.st_gid != ROOT else ()


def _engine_socket(environ: Mapping[str, str]) -> Path | None:
    """Give the engine's Unix socket; None when it is reached in another way."""
    address = urlsplit(environ.get("DOCKER_HOST") or DEFAULT_ENGINE)
    return Path(address.path) if address.scheme == "unix" else None


# --- What each user must be able to do -------------------------------------------------------


def _first(questions: Iterable[tuple[Rights, Question]]) -> str:
    """Ask one question after the other, each as the user it is about; give the first problem."""
    return next(filter(None, (run_as(rights, ask) for rights, ask in questions)), "")


def _program_questions(settings: Settings, apart: Apart) -> Iterator[tuple[Rights, Question]]:
    needed = [*_program_files(), settings.data_dir]
    for part, user in (("web", apart.users.web), ("worker", apart.users.work)):
        yield apart.rights[part], partial(_unreachable, user.name, needed)
    server = find_redis_server()
    if server and not settings.redis_url:
        redis = [Path(server), settings.data_dir]
        # A program of ours turns into Redis.
        asked = partial(_unreachable, apart.users.redis.name, [*needed, *redis])
        yield apart.rights["redis"], asked


def _service_questions(
    settings: Settings, apart: Apart, environ: Mapping[str, str]
) -> Iterator[tuple[Rights, Question]]:
    web, worker = apart.rights["web"], apart.rights["worker"]
    names = {web: apart.users.web.name, worker: apart.users.work.name}
    if engine := _engine_socket(environ):
        yield worker, partial(_refused, names[worker], engine)
    if settings.router_socket:
        yield worker, partial(_refused, names[worker], Path(settings.router_socket))
    for rights, name in names.items():
        if settings.redis_url.startswith("unix://"):
            redis = Path(urlsplit(settings.redis_url).path)
            yield rights, partial(_refused, name, redis)
        if not is_sqlite(settings.effective_database_url):
            yield rights, partial(_turned_away, name, settings.effective_database_url)


def _owners_questions(settings: Settings, apart: Apart) -> Iterator[tuple[Rights, Question]]:
    """Ask whether each can use what it was given in the data directory."""
    users, write = apart.users, os.W_OK | os.X_OK
    key, both = settings.data_dir / KEY_FILE, os.R_OK | os.W_OK
    shared = [(key, os.R_OK)] if key.exists() else []
    if is_sqlite(settings.effective_database_url):
        shared.append((sqlite_path(settings.effective_database_url), both))
    work = [settings.logs_dir, settings.mirrors_dir, settings.router_dir]
    yield (
        apart.rights["web"],
        partial(_denied, users.web.name, [*shared, (settings.logs_dir, os.R_OK | os.X_OK)]),
    )
    yield (
        apart.rights["worker"],
        partial(_denied, users.work.name, [*shared, *((folder, write) for folder in work)]),
    )
    redis = [(folder, write) for folder in (settings.redis_dir, settings.redis_socket.parent)]
    yield apart.rights["redis"], partial(_denied, users.redis.name, redis)


def _program_files() -> list[Path]:
    """List the files that a part of Keystone is made of."""
    found = {Path(sys.executable)}
    found.update(Path(file) for module in list(sys.modules.values()) if (file := _file_of(module)))
    for name in (*OURS, *LATER):
        spec = importlib.util.find_spec(name)
        if spec and spec.origin:
            found.add(Path(spec.origin))
            if name in OURS:
                found.update(_sources(Path(spec.origin).parent))
    return sorted(found | set(_mapped_files()))


def _sources(package: Path) -> Iterator[Path]:
    """Give the files of a package; what Python keeps beside them it can do without."""
    return (file for file in package.rglob("*") if file.suffix != ".pyc")


def _file_of(module: object) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and os.path.isabs(file) else ""  # noqa: PTH117 — quick


def _mapped_files() -> Iterator[Path]:
    """Give the interpreter and the libraries that it consists of."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        # What is not a file has a name in brackets, or none.
        match line.split(maxsplit=5):
            case [_, rights, _, _, _, name] if "x" in rights and name.startswith("/"):
                yield Path(name)


# --- Asked as another user -------------------------------------------------------------------


def _unreachable(user: str, files: Iterable[Path]) -> str:
    """Name the folder or file that keeps this user from reaching one of these."""
    wanted = list(files)
    for folder in sorted({folder for file in wanted for folder in file.parents}):
        if not os.access(folder, os.X_OK):
            return f"the user {user} cannot enter {folder}"
    for file in wanted:
        if file.is_file() and not os.access(file, os.R_OK):
            return f"the user {user} cannot read {file}"
    return ""


def _refused(user: str, path: Path) -> str:
    """Say whether a socket lets nobody in like this user; one that is not there may yet come."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
    except PermissionError:
        return f"the user {user} cannot use the socket {path}"
    except OSError:
        pass
    return ""


def _turned_away(user: str, url: str) -> str:
    # libpq looks for files of the user's there.
    os.environ["HOME"] = HOME
    database = Database(url)
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
    except KeystoneError as exc:
        return f"the user {user} cannot use the database: {exc}"
    finally:
        database.close()
    return ""


def _denied(user: str, wanted: Iterable[tuple[Path, int]]) -> str:
    for path, mode in wanted:
        if not os.access(path, mode):
            return f"the user {user} cannot use {path}"
    return ""
