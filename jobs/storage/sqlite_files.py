"""SQLite databases as files: copy one that is in use, check one, prepare one for moving."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from jobs.errors import BackupError, ConflictError, StorageError

PATIENCE_S = 10.0
RETRY_S = 0.01
# Instructions of SQLite's virtual machine between two progress reports of a copy.
LOOK_EVERY = 100_000

# The mask for the primary result code within an extended one.
PRIMARY = 0xFF

Tick = Callable[[int], None]


def _silent(_bytes: int) -> None:
    """Ignore the progress."""


def is_sqlite(url: str) -> bool:
    """Whether a database's URL names an SQLite file."""
    return url.startswith("sqlite")


def sqlite_url(path: Path) -> str:
    """Give the URL of an SQLite file."""
    return f"sqlite:///{quote(str(path))}"


def sqlite_path(url: str) -> Path:
    """Give the path of an SQLite database's file."""
    return Path(make_url(url).database or "").absolute()


def state(path: Path) -> tuple[int, ...]:
    """Give a value that changes whenever a file is written; empty if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def open_without_traces(
    path: Path, *, patience_s: float
) -> tuple[sqlite3.Connection, tuple[int, ...] | None]:
    """Open a database so that reading it writes nothing: neither to it nor to a file beside it.

    Args:
        patience_s: how long to wait while others lock, open or close it.

    Returns:
        The connection, and the state of the file if it is read without locks (else None), which the
        caller must compare after reading.

    Raises:
        OperationalError: the database cannot be opened.
    """
    deadline = time.monotonic() + patience_s
    while True:
        before = state(path) if _is_at_rest(path) else None
        address = _address_without_traces(path, at_rest=before is not None)
        connection = sqlite3.connect(address, uri=True, timeout=patience_s, isolation_level=None)
        try:
            connection.execute("PRAGMA schema_version").fetchone()  # SQLite opens the file only now
        except sqlite3.OperationalError:
            connection.close()
            # Retry: `-wal`, `-shm` and `-journal` come and go as others open and close it.
            if before == () or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return connection, before


def _is_at_rest(path: Path) -> bool:
    """Whether the whole database is in its one file, with no other process using it."""
    return not any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))


def _address_without_traces(path: Path, *, at_rest: bool) -> str:
    """Give the URI that makes SQLite open a database without writing.

    Source: https://www.sqlite.org/uri.html (`immutable`) and SQLite's os_unix.c (`readonly_shm`),
    read 2026-11-30. With `readonly_shm`, SQLite rebuilds an unused WAL index in memory instead of
    in its file. That fails if the file does not exist; then SQLite must be allowed to make it.
    """
    has_index = path.with_name(f"{path.name}-shm").exists()
    how = "&immutable=1" if at_rest else "&readonly_shm=1" if has_index else ""
    return f"file:{quote(str(path))}?mode=ro{how}"


def copy_database(source: Path, target: Path, *, tick: Tick = _silent) -> None:
    """Copy a snapshot of a database, which may be in use; deleted data is not copied.

    Args:
        target: must not exist; readable by the owner only.
        tick: called repeatedly with the size of the copy so far, in bytes.

    Raises:
        StorageError: the database cannot be read, or the copy cannot be written. No copy is left.
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
    """Merge a database's write-ahead log into its one file, so that the file can be moved.

    Raises:
        ConflictError: another process has the database open.
        BackupError: the database is damaged.
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
    """Check that a file is a database whose pages are all readable and consistent.

    Raises:
        BackupError: the file is damaged, or not a database.
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
