"""Migrates a database to the schema of this code, and back.

Each migration from 0010 on says in `compatible` whether the code of the schema before it can run on
the new schema. Its `downgrade` restores the earlier schema. The database stores the oldest schema
whose code can use it, because older code cannot read the migrations of newer code.
"""

import fcntl
import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from jobs.errors import StorageError
from jobs.storage.database import Database
from jobs.storage.sqlite_files import copy_database, sqlite_path

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script, ScriptDirectory

HEAD = "0016"
BASE = "0009"  # the oldest schema that a database can be brought back to
FOLDER = Path(__file__).parent


def ensure_schema(database: Database, *, lock_file: Path) -> None:
    """Apply the missing migrations; return quickly if there are none.

    A newer schema stays as it is if this code can run on it.

    Raises:
        StorageError: the database is too new for this code, or cannot be used.
    """
    # Several processes may start at once: the first one migrates, and the others wait for it.
    with _alone(lock_file):
        version = schema_version(database)
        if version != HEAD and not (version and is_usable(database, version)):
            migrate_to(database, HEAD)


def restore_schema(database: Database, revision: str, *, lock_file: Path) -> None:
    """Bring a database back to an earlier schema.

    Raises:
        StorageError: a migration cannot be undone, or the database cannot be used.
    """
    with _alone(lock_file):
        migrate_back_to(database, revision)


@contextmanager
def _alone(lock_file: Path) -> Iterator[None]:
    with _opened(lock_file) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        except SQLAlchemyError as exc:
            raise StorageError(f"the database cannot be used: {type(exc).__name__}") from exc


def _opened(lock_file: Path) -> TextIO:
    try:
        return lock_file.open("w", encoding="utf-8")
    except OSError as exc:
        raise StorageError(f"{lock_file} cannot be written: {exc.strerror}") from exc


def schema_version(database: Database) -> str | None:
    """Give the database's schema version; None if the database is empty."""
    with database.writer_engine.connect() as connection:
        return schema_of(connection)


def schema_of(connection: Connection) -> str | None:
    """Give the schema version of an open database; None if the database is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def is_usable(database: Database, version: str) -> bool:
    """Whether this code can run on a database with a newer schema."""
    with database.writer_engine.connect() as connection:
        return allows(connection, version)


def allows(connection: Connection, version: str, *, schema: str = HEAD) -> bool:
    """Whether code with the given schema can run on an open database with a newer schema.

    Args:
        version: the database's schema.
    """
    # Version names are numbers of equal length, so older versions sort first.
    return version > schema and oldest_usable(connection) <= schema


def oldest_usable(connection: Connection) -> str:
    """Give the oldest schema whose code can use an open database."""
    if inspect(connection).has_table("schema_use"):
        found = connection.execute(text("SELECT oldest FROM schema_use")).scalar()
        if found:
            return str(found)
    return schema_of(connection) or ""


def migrate_to(database: Database, revision: str) -> None:
    """Migrate a database up to a schema; first copy it if it already has a schema.

    Raises:
        StorageError: the database is newer than this code, or the copy cannot be written.
    """
    # Imported here because importing Alembic takes most of a second and is rarely needed.
    from alembic import command  # noqa: PLC0415

    config, scripts = _history()
    version = schema_version(database)
    if version is not None:
        if version not in {script.revision for script in scripts.walk_revisions()}:
            raise newer(version)
        _keep_copy(database, version)
    with database.writer_engine.connect() as connection, _tables_rebuilt(database, connection):
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        _note_oldest(connection, scripts)


def migrate_back_to(database: Database, revision: str) -> None:
    """Bring a database back to an earlier schema; first copy it. No row of that schema is lost.

    Raises:
        StorageError: a migration cannot be undone, or the database is newer than this code.
    """
    from alembic import command  # noqa: PLC0415

    config, scripts = _history()
    version = schema_version(database)
    if version is None or version <= revision:
        return
    if version not in {script.revision for script in scripts.walk_revisions()}:
        raise newer(version)
    if revision < BASE:
        raise StorageError(
            f"the database has schema {version}, and {BASE} is the oldest that it can be brought "
            "back to; restore a backup that an older Keystone made"
        )
    _keep_copy(database, version)
    with database.writer_engine.connect() as connection, _tables_rebuilt(database, connection):
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        _note_oldest(connection, scripts)


def latest_compatible(version: str) -> str:
    """Give the newest schema that the code of a schema can run on, and so keep running on."""
    _, scripts = _history()
    reached = version
    for script in _newest_last(scripts):
        if script.revision > version:
            if not script.module.compatible:
                break
            reached = script.revision
    return reached


def _history() -> "tuple[Config, ScriptDirectory]":
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config, ScriptDirectory.from_config(config)


def _newest_last(scripts: "ScriptDirectory") -> "list[Script]":
    return list(reversed(list(scripts.walk_revisions())))


def _note_oldest(connection: Connection, scripts: "ScriptDirectory") -> None:
    """Store the oldest schema whose code can use the database in its present schema."""
    version = schema_of(connection)
    if version is None or version <= BASE:
        return  # the table does not exist yet
    oldest = version
    for script in _newest_last(scripts):
        if BASE < script.revision <= version and not script.module.compatible:
            oldest = script.revision
    connection.execute(text("UPDATE schema_use SET oldest = :oldest"), {"oldest": oldest})


@contextmanager
def _tables_rebuilt(database: Database, connection: Connection) -> Iterator[None]:
    """Run migrations that may rebuild tables, in one transaction.

    SQLite changes a table by making a new one and dropping the old one. With foreign keys enforced,
    dropping it would remove every row that refers to it. So they are checked at the end instead.

    Raises:
        StorageError: a row refers to a missing row.

    Source: https://www.sqlite.org/lang_altertable.html, section 7 (read 2026-11-30).
    """
    _enforce_foreign_keys(database, connection, on=False)
    try:
        with connection.begin():
            yield
            if database.is_sqlite and _has_lost_references(connection):
                raise StorageError("the database's rows do not fit together; it is not changed")
    finally:
        _enforce_foreign_keys(database, connection, on=True)


def _has_lost_references(connection: Connection) -> bool:
    return connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None


def _enforce_foreign_keys(database: Database, connection: Connection, *, on: bool) -> None:
    raw = connection.connection.driver_connection
    if database.is_sqlite and raw is not None:
        raw.execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")


def newer(version: str) -> StorageError:
    """Give the error for a database whose schema this code does not know."""
    return StorageError(
        f"the database has schema {version}, which is newer than this Keystone knows ({HEAD}); "
        "install the newer Keystone again, or restore a backup"
    )


def _keep_copy(database: Database, version: str) -> None:
    """Copy the database before a migration, for a downgrade; keep only the newest such copy."""
    if not database.is_sqlite:
        return
    path = sqlite_path(database.url)
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        copy_database(path, draft)
        for older in path.parent.glob(f"{glob.escape(path.name)}.schema-*"):
            older.unlink()
        draft.rename(path.with_name(f"{path.name}.schema-{version}"))
    except OSError as exc:
        draft.unlink(missing_ok=True)
        told = f"{exc.filename}: {exc.strerror}"
        raise StorageError(
            f"a copy of {path} cannot be kept, so it is not changed: {told}"
        ) from exc
