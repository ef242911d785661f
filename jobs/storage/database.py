"""The one door to the database: short reading and writing transactions.

One transaction writes at a time, whichever process's it is: what it has read stays true until it
ends. SQLite, in WAL mode with `synchronous=FULL`, has BEGIN IMMEDIATE for that: a writer that waits
is queued, never refused in the middle. On PostgreSQL every writer begins with the same lock.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, NullPool, event, make_url
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session, create_engine

from jobs.errors import StorageError
from jobs.storage.fair_lock import Turns
from jobs.storage.sqlite_files import open_without_traces, sqlite_path, state

# Longer than the 8 s that a stuck writer may hold the lock; a webhook is answered within 10 s. It
# is for both waits together: in line behind this process's writers, and for the others.
BUSY_TIMEOUT_MS = 9000
POOL_TIMEOUT_S = 5
# Connections that may read at once, SQLAlchemy's own default; some are kept for what must not wait
# for pages and lists: a delivery, which GitHub sends once.
READERS, KEPT_READERS = 15, 4
# PostgreSQL's: how long a server may take to answer at all, and a writer to say its next word.
CONNECT_TIMEOUT_S = 5
STUCK_AFTER_MS = 8000
NO_CONNECTION = "the database did not answer: no connection became free"
WRITERS_LOCK = 0x6B657973  # "keys": within one database, any number of our own


class Database:
    """Two engines over one database: one that may write, one that cannot."""

    def __init__(self, url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.url = url
        self._busy_timeout_ms = busy_timeout_ms
        # Between processes SQLite lets writers sleep and try again, and one may be unlucky for
        # seconds; those of one process rather stand in line. On PostgreSQL the line keeps them
        # from taking every connection of the pool only to wait.
        self._line = Turns()
        self._patience_ms = busy_timeout_ms  # of the writer at the head of the line
        self._readers = threading.BoundedSemaphore(READERS - KEPT_READERS)
        self.is_sqlite = url.startswith("sqlite")
        self._writer: Engine | None = None
        self._reader: Engine | None = None

    @property
    def writer_engine(self) -> Engine:
        """The engine whose transactions may write."""
        if self._writer is None:
            self._writer = self._sqlite_writer() if self.is_sqlite else self._server_writer()
        return self._writer

    @property
    def reader_engine(self) -> Engine:
        """The engine whose connections refuse every write."""
        if self._reader is None:
            self._reader = self._sqlite_reader() if self.is_sqlite else _server_reader(self.url)
        return self._reader

    @contextmanager
    def writing(self, *, until: float | None = None) -> Iterator[Session]:
        """Open a transaction that is committed when the block ends and undone when it raises.

        Args:
            until: when to give up waiting for others, of `time.monotonic`; at most 9 s from now.

        Raises:
            StorageError: the database cannot be reached, is locked too long, or its disk is full.
        """
        with (
            self._turn(until),
            _translated(),
            Session(self.writer_engine, expire_on_commit=False) as session,
        ):
            yield session
            session.commit()

    @contextmanager
    def reading(self, *, is_urgent: bool = False) -> Iterator[Session]:
        """Open a transaction that sees one moment and cannot write.

        Args:
            is_urgent: use one of the connections that nothing else may use.

        Raises:
            StorageError: the database cannot be reached.
        """
        with (
            nullcontext() if is_urgent else self._place_among_readers(),
            _translated(),
            Session(self.reader_engine, expire_on_commit=False) as session,
        ):
            yield session

    @contextmanager
    def _place_among_readers(self) -> Iterator[None]:
        if not self._readers.acquire(timeout=POOL_TIMEOUT_S):
            raise StorageError(NO_CONNECTION)
        try:
            yield
        finally:
            self._readers.release()

    @contextmanager
    def _turn(self, until: float | None) -> Iterator[None]:
        deadline = time.monotonic() + self._busy_timeout_ms / 1000
        deadline = deadline if until is None else min(deadline, until)
        if not self._line.acquire(deadline - time.monotonic()):
            raise StorageError(
                "the database did not answer: another writer has been at it too long"
            )
        try:
            self._patience_ms = max(1, round((deadline - time.monotonic()) * 1000))
            yield
        finally:
            self._line.release()

    def close(self) -> None:
        """Close every pooled connection; needed before a process forks.

        The engines stay, with the statements they know, and open others when they are needed.
        """
        for engine in (self._writer, self._reader):
            if engine is not None:
                engine.dispose()

    def _sqlite_writer(self) -> Engine:
        engine = create_engine(self.url, connect_args={"timeout": self._busy_timeout_ms / 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", self._begin_immediate)
        event.listen(engine, "before_cursor_execute", _make_storable, retval=True)
        return engine

    def _begin_immediate(self, connection: Any) -> None:  # noqa: ANN401
        # What the line has left of the patience: only its head gets here.
        connection.exec_driver_sql(f"PRAGMA busy_timeout={self._patience_ms}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _server_writer(self) -> Engine:
        # A process that is stopped in the middle keeps the others from writing no longer than that.
        stuck = f"-c idle_in_transaction_session_timeout={STUCK_AFTER_MS}"
        engine = _server_engine(self.url, stuck)
        event.listen(engine, "begin", self._begin_alone)
        return engine

    def _begin_alone(self, connection: Any) -> None:  # noqa: ANN401
        connection.exec_driver_sql(f"SET LOCAL lock_timeout={self._patience_ms}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")

    def _sqlite_reader(self) -> Engine:
        # The path is decoded once here, and once more by SQLite itself.
        path = quote(make_url(self.url).database or "")
        engine = create_engine(
            URL.create("sqlite", database=f"file:{path}", query={"mode": "ro", "uri": "true"}),
            pool_timeout=POOL_TIMEOUT_S,
            connect_args={"timeout": self._busy_timeout_ms / 1000},
        )
        event.listen(engine, "connect", _prepare_sqlite_reader)
        event.listen(engine, "begin", _begin_deferred)
        event.listen(engine, "before_cursor_execute", _make_storable, retval=True)
        return engine


class ReadOnlyDatabase(Database):
    """A database for a command that only reads: it writes nothing, not even a file beside it.

    SQLite makes `-wal` and `-shm` files for whoever opens a database in WAL mode, a reader too,
    and a reader cannot remove them. Each transaction opens the database anew, in the way that
    leaves no trace at that moment. For one thread, of a process that does not write meanwhile:
    SQLite would share the reader's files with the writer.
    """

    # As SQLite's file was when it was opened without locks; None: with locks, or not yet.
    _before: tuple[int, ...] | None = None

    @property
    def writer_engine(self) -> Engine:
        """There is none.

        Raises:
            RuntimeError: always; a command that only reads tried to write.
        """
        raise RuntimeError("this database is open for reading only")

    @contextmanager
    def reading(self, *, is_urgent: bool = False) -> Iterator[Session]:
        """Open a transaction that sees one moment and cannot write.

        Raises:
            StorageError: the database cannot be reached, or changed while it was read.
        """
        self._before = None
        with super().reading(is_urgent=is_urgent) as session:
            yield session
        if self._has_changed():
            raise StorageError("the database was changed while it was read; try again")

    def _has_changed(self) -> bool:
        """Whether somebody has written to a file that was read without locks."""
        return self._before is not None and state(sqlite_path(self.url)) != self._before

    def _sqlite_reader(self) -> Engine:
        path, patience_s = sqlite_path(self.url), self._busy_timeout_ms / 1000

        def connect() -> sqlite3.Connection:
            connection, self._before = open_without_traces(path, patience_s=patience_s)
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(engine, "connect", _prepare_sqlite_reader)
        event.listen(engine, "begin", _begin_deferred)
        return engine


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InternalError) as exc:
        # `orig` is the driver's sentence; the statement and its values stay out of the message.
        raise StorageError(f"the database did not answer: {exc.orig}") from exc
    except PoolTimeoutError as exc:
        raise StorageError(NO_CONNECTION) from exc


def storable(text: str) -> str:
    """Give a text without halves of characters (lone surrogates), which no database can keep.

    They come from undecodable bytes and from JSON. One in a reason must not decide whether the end
    of a deployment can be recorded.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def _make_storable(
    _connection: object,
    _cursor: object,
    statement: str,
    parameters: Any,  # noqa: ANN401 — a tuple of values, or a list of them
    _context: object,
    _executemany: bool,  # noqa: FBT001 — also true where many rows are one statement's values
) -> tuple[str, Any]:
    if isinstance(parameters, list):
        return statement, [_storable_row(row) for row in parameters]
    return statement, _storable_row(parameters)


def _storable_row(row: Any) -> Any:  # noqa: ANN401
    if not any(isinstance(value, str) and not value.isascii() for value in row):
        return row
    return tuple(storable(value) if isinstance(value, str) else value for value in row)


def _server_reader(url: str) -> Engine:
    one_moment = r"-c default_transaction_isolation=repeatable\ read"
    return _server_engine(url, f"{one_moment} -c default_transaction_read_only=on")


def _server_engine(url: str, options: str) -> Engine:
    own = make_url(url).query.get("options", "")
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": STUCK_AFTER_MS,  # else a machine that is gone is waited for long
            "options": f"{own} {options}",
        },
    )
    event.listen(engine, "connect", _prepare_server)
    return engine


def _prepare_server(connection: Any, _record: object) -> None:  # noqa: ANN401
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415 — an extra, seldom there

    class WithoutNul(StrDumperUnknown):
        """Text as PostgreSQL takes it: what comes from outside may hold a NUL, as SQLite's may."""

        def dump(self, obj: str) -> Any:  # noqa: ANN401
            return super().dump(storable(obj).replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, WithoutNul)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401
    # SQLAlchemy's own BEGIN is switched off: the `begin` event says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_sqlite_reader(connection: Any, _record: object) -> None:  # noqa: ANN401
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _begin_deferred(connection: Any) -> None:  # noqa: ANN401
    connection.exec_driver_sql("BEGIN")
