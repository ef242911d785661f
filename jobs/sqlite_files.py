"""SQLite's databases as files: copied while they are in use, checked, made whole to be moved."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from jobs.errors import BackupError, ConflictError, StorageError

PATIENCE_S = 10.0
# Of SQLite's own instructions, between two looks at how far a copy is.
LOOK_EVERY = 100_000

# The part of an error's code that says what kind it is.
PRIMARY = 0xFF

Tick = Callable[[int], None]


def _silent(_bytes: int) -> None:
    """Tell nobody."""


def is_sqlite(url: str) -> bool:
    """Whether a database's URL names an SQLite file."""
    return url.startswith("sqlite")


def sqlite_url(path: Path) -> str:
    """Give the URL of an SQLite file."""
    return f"sqlite:///{quote(str(path))}"


def sqlite_path(url: str) -> Path:
    """Give the file of an SQLite database."""
    return Path(make_url(url).database or "").absolute()


def copy_database(source: Path, target: Path, *, tick: Tick = _silent) -> None:
    """Copy one moment of a database, which may be in use; what was deleted from it stays behind.

    Args:
        target: must not exist; nobody else can read it afterwards.
        tick: told again and again how many bytes the copy has.

    Raises:
        StorageError: the database cannot be read, or the copy not be written. There is none then.
    """

    def look() -> int:
        tick(target.stat().st_size)
        return 0

    try:
        target.touch(mode=0o600, exist_ok=False)
        with closing(_opened(source, "ro")) as connection:
            connection.set_progress_handler(look, LOOK_EVERY)
            connection.execute("VACUUM INTO ?", (str(target),))
    except (sqlite3.Error, OSError) as exc:
        target.unlink(missing_ok=True)
        raise StorageError(
            f"the database {source} cannot be copied to {target.parent}: {exc}"
        ) from exc


def make_whole(path: Path) -> None:
    """Bring all that belongs to a database into its one file, so that it can be moved.

    Raises:
        ConflictError: something has it open.
        BackupError: it is damaged.
    """
    try:
        with closing(_opened(path, "rw")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as exc:
        if exc.sqlite_errorcode & PRIMARY in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise ConflictError(
                f"something still uses the database {path}; stop every part of Keystone first"
            ) from exc
        raise BackupError(f"the database {path} is damaged: {exc}") from exc


def ensure_sound(path: Path) -> None:
    """Make sure that a file is a database that can be read from its first page to its last.

    Raises:
        BackupError: it is not.
    """
    try:
        with closing(_opened(path, "ro")) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as exc:
        raise BackupError(f"the backup's database cannot be read: {exc}") from exc
    if found != "ok":
        raise BackupError("the backup's database is damaged")


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=PATIENCE_S, isolation_level=None)
