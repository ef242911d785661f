"""The only access to the database: short reading and writing transactions.

Only one transaction writes at a time, across all processes, so the data that it has read cannot
change before it ends. On SQLite (WAL mode, `synchronous=FULL`) it begins with BEGIN IMMEDIATE: a
writer waits for the lock at its start, and is never refused halfway. On PostgreSQL every writer
begins by taking the same advisory lock.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, ExceptionContext, NullPool, event, make_url
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session, create_engine

from jobs.errors import StorageError
from jobs.storage.fair_lock import Turns
from jobs.storage.sqlite_files import open_without_traces, sqlite_path, state

# Longer than the 8 s for which a stuck writer may hold the lock, and shorter than the 10 s within
# which a webhook must be answered. It bounds both waits together: for the writers of this process,
# and for those of other processes.
BUSY_TIMEOUT_MS = 9000
POOL_TIMEOUT_S = 5
# READERS: connections that may read at once, SQLAlchemy's default. KEPT_READERS of them are
# reserved for deliveries, which must not wait for pages and lists: GitHub sends each only once.
READERS, KEPT_READERS = 15, 4
# For PostgreSQL: the timeout for connecting, and the time for which a writing transaction may idle.
CONNECT_TIMEOUT_S = 5
STUCK_AFTER_MS = 8000
READ_ONLY = "25006"  # PostgreSQL's code for a write in a transaction that may only read
NO_CONNECTION = "the database did not answer: no connection became free"
WRITERS_LOCK = 0x6B657973  # "keys"; an advisory lock is per database, so any fixed number will do


class Database:
    """Two engines for one database: one can write, the other is read-only."""

    def __init__(self, url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.url = url
        self._busy_timeout_ms = busy_timeout_ms
        # SQLite's waiting writers sleep and retry, so an unlucky one may wait for seconds. The
        # writers of one process queue in a fair lock instead. On PostgreSQL that queue also keeps
        # waiting writers from using up the connection pool.
        self._line = Turns()
        self._patience_ms = busy_timeout_ms  # the time left for the writer that holds the turn
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
        """Open a transaction that is committed when the block ends and rolled back if it raises.

        Args:
            until: the deadline for getting the write lock, as a value of `time.monotonic`; at most
                9 s from now.

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
        """Open a read-only transaction on one snapshot of the database.

        Args:
            is_urgent: whether it may also use the reserved connections.

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

        The engines stay, with their cached statements, and open new connections when needed.
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
        # The time left after waiting in this process. Only the writer with the turn gets here.
        connection.exec_driver_sql(f"PRAGMA busy_timeout={self._patience_ms}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _server_writer(self) -> Engine:
        # A process that is stopped during a transaction blocks other writers only for this long.
        stuck = f"-c idle_in_transaction_session_timeout={STUCK_AFTER_MS}"
        engine = _server_engine(self.url, stuck)
        event.listen(engine, "begin", self._begin_alone)
        event.listen(engine, "handle_error", _leave_a_former_primary)
        return engine

    def _begin_alone(self, connection: Any) -> None:  # noqa: ANN401
        connection.exec_driver_sql(f"SET LOCAL lock_timeout={self._patience_ms}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")

    def _sqlite_reader(self) -> Engine:
        # Quote the path again: `make_url` decodes it, and SQLite decodes it once more.
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
    """A database for a command that only reads; it writes nothing, not even SQLite's extra files.

    When a database in WAL mode is opened, even for reading, SQLite makes `-wal` and `-shm` files,
    and a reader cannot remove them. So each transaction opens the database again, in the mode that
    leaves no trace at that moment. Use it from one thread, in a process that does not write at the
    same time: SQLite would share the reader's files with the writer.
    """

    # The state of SQLite's file when it was opened without locks; None: opened with locks, or not
    # opened yet.
    _before: tuple[int, ...] | None = None

    @property
    def writer_engine(self) -> Engine:
        """Not available: this database is read-only.

        Raises:
            RuntimeError: always; a command that only reads tried to write.
        """
        raise RuntimeError("this database is open for reading only")

    @contextmanager
    def reading(self, *, is_urgent: bool = False) -> Iterator[Session]:
        """Open a read-only transaction on one snapshot of the database.

        Raises:
            StorageError: the database cannot be reached, or changed while it was read.
        """
        self._before = None
        with super().reading(is_urgent=is_urgent) as session:
            yield session
        if self._has_changed():
            raise StorageError("the database was changed while it was read; try again")

    def _has_changed(self) -> bool:
        """Whether the file was written to while it was read without locks."""
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
        # `orig` is the driver's message, without the statement and its values.
        raise StorageError(f"the database did not answer: {exc.orig}") from exc
    except PoolTimeoutError as exc:
        raise StorageError(NO_CONNECTION) from exc


def storable(text: str) -> str:
    """Replace lone surrogates, which no database can store.

    They come from undecodable bytes and from JSON. One in a reason must not prevent the end of a
    deployment from being recorded.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def _make_storable(
    _connection: object,
    _cursor: object,
    statement: str,
    parameters: Any,  # noqa: ANN401 — a tuple of values, or a list of them
    _context: object,
    _executemany: bool,  # noqa: FBT001 — also true if one statement inserts many rows
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
            # The driver would have statements prepared that it repeats. A server that is replaced
            # behind a proxy does not know them, and a migration makes them useless.
            "prepare_threshold": None,
            "tcp_user_timeout": STUCK_AFTER_MS,  # the default waits long for a lost machine
            "options": f"{own} {options}",
        },
    )
    event.listen(engine, "connect", _prepare_server)
    return engine


def _leave_a_former_primary(context: ExceptionContext) -> None:
    """Drop all connections to a server that refuses writes since another one took its place."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _prepare_server(connection: Any, _record: object) -> None:  # noqa: ANN401
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415 — an optional dependency

    class WithoutNul(StrDumperUnknown):
        """Dumps text without NUL characters: PostgreSQL refuses them, and outside text has some."""

        def dump(self, obj: str) -> Any:  # noqa: ANN401
            return super().dump(storable(obj).replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, WithoutNul)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401
    # Switch off the driver's implicit BEGIN: the `begin` event listener sends the right kind.
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
