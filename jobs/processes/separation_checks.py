"""Checks of what a part's system user must be able to access, by trying it.

Each check runs in a process of that user. It gives an empty text on success, otherwise what the
user cannot do and, on a second line, how to fix it.
"""

import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import text

from jobs.errors import KeystoneError
from jobs.processes.redis_server import find_redis_server
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.storage.vault import KEY_FILE

HOME = "/nonexistent"  # the home folder of these users
PATIENCE_S = 2.0
MOVE = "move Keystone to /opt/keystone"
LET_IN = "let that user in"
# Our packages, and third-party packages that only the parts import.
OURS = ("jobs", "receiver", "dashboard")
LATER = ("docker", "github", "h2", "httptools", "jinja2", "rq", "starlette", "uvicorn", "uvloop")
READ, WRITE, READ_WRITE = os.R_OK, os.W_OK, os.R_OK | os.W_OK
LIST, MAKE = os.R_OK | os.X_OK, os.W_OK | os.X_OK  # for folders

Check = Callable[[], str]


def ask_all(checks: Iterable[Check]) -> str:
    """Run the checks in order; give the message of the first one that fails."""
    return next(filter(None, (check() for check in checks)), "")


def checks_of_surroundings(settings: Settings, engine: Path | None) -> dict[str, list[Check]]:
    """Give the checks of the environment before Keystone starts, by part, for the part's user.

    Args:
        engine: the engine's Unix socket, if it has one.
    """
    # A copy of the code in the data directory can be read by all who may enter the directory.
    files = [path for path in program_files() if not path.is_relative_to(settings.data_dir)]
    program: Check = partial(_reach, files, settings.data_dir)
    both = _of_services(settings)
    sockets = [path for path in (engine, _given_socket(settings.router_socket)) if path]
    found: dict[str, list[Check]] = {
        "web": [program, *both],
        "worker": [program, *both, *(partial(_connect, path) for path in sockets)],
    }
    if (server := find_redis_server()) and not settings.redis_url:
        # The part `redis` is a Keystone command that executes Redis.
        found["redis"] = [program, partial(_reach, [Path(server)], settings.data_dir)]
    return found


def checks_of_data(settings: Settings) -> dict[str, list[Check]]:
    """Give the checks of each part's access to the data directory, by part."""
    key, shared = settings.data_dir / KEY_FILE, []
    if key.exists():
        shared.append((key, READ))
    if is_sqlite(url := settings.effective_database_url):
        shared.append((sqlite_path(url), READ_WRITE))
    work = [settings.logs_dir, settings.mirrors_dir, settings.router_dir]
    redis = [settings.redis_dir, settings.redis_socket.parent]
    return {
        "web": [partial(_use, [*shared, (settings.logs_dir, LIST)])],
        "worker": [partial(_use, [*shared, *((folder, MAKE) for folder in work)])],
        "redis": [partial(_use, [(folder, MAKE) for folder in redis])],
    }


def _of_services(settings: Settings) -> list[Check]:
    found: list[Check] = []
    if settings.redis_url.startswith("unix://"):
        found.append(partial(_connect, Path(urlsplit(settings.redis_url).path)))
    if not is_sqlite(settings.effective_database_url):
        found.append(partial(_query, settings.effective_database_url))
    return found


def _given_socket(path: str) -> Path | None:
    return Path(path) if path else None


def program_files() -> list[Path]:
    """List the program files that a part of Keystone needs."""
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
    """Give the files of a package, without Python's bytecode files, which are optional."""
    return (file for file in package.rglob("*.*") if file.suffix != ".pyc")


def _file_of(module: object) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and os.path.isabs(file) else ""  # noqa: PTH117 — quick


def _mapped_files() -> Iterator[Path]:
    """Give the files of the interpreter and of its shared libraries."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        # Mappings that are not files have a name in brackets, or no name.
        match line.split(maxsplit=5):
            case [_, rights, _, _, _, name] if "x" in rights and name.startswith("/"):
                yield Path(name)


# --- The checks ------------------------------------------------------------------------------


def _reach(files: Sequence[Path], data_dir: Path) -> str:
    """Check that each file can be read, and that all its parent folders can be entered."""
    folders = {folder for path in (*files, data_dir) for folder in path.parents}
    closed = next((each for each in sorted(folders) if not os.access(each, os.X_OK)), None)
    if closed:
        return f"cannot enter {closed}\n{MOVE}"
    hidden = next((each for each in files if not os.access(each, os.R_OK)), None)
    return f"cannot read {hidden}\n{MOVE}" if hidden else ""


def _connect(path: Path) -> str:
    """Check that a socket does not refuse this user; a missing socket may be created later."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
    except PermissionError:
        return f"cannot use the socket {path}\n{LET_IN}"
    except OSError:
        pass
    return ""


def _query(url: str) -> str:
    # libpq looks for the user's files in the home folder.
    os.environ["HOME"] = HOME
    database = Database(url)
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
    except KeystoneError as exc:
        told = str(exc).replace("\n", " ")
        return f"cannot use the database: {told}\n{LET_IN}"
    finally:
        database.close()
    return ""


def _use(wanted: Iterable[tuple[Path, int]]) -> str:
    denied = (path for path, mode in wanted if not os.access(path, mode))
    return "".join(f"cannot use {path}" for path in list(denied)[:1])
