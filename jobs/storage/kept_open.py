"""Keeps an SQLite database open for processes that may not create its files. Imports little."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote


@contextmanager
def kept_open(database: Path | None) -> Iterator[None]:
    """Keep an SQLite database open, so that its `-wal` and `-shm` files stay during the block.

    The last process to close the database removes these files. Creating them again requires write
    access to the folder, which Keystone's parts lack where they run as separate users.

    Args:
        database: the file; without one, or if it cannot be opened, the block runs all the same,
            and the processes report the problem themselves.
    """
    if database is None or not database.exists():
        yield
        return
    address = f"file:{quote(str(database))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        _read(connection)
        yield


def _read(connection: sqlite3.Connection) -> None:
    """Read once, because SQLite opens the files with the first query."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        return
