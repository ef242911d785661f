"""Bringing a database up to the schema this code knows."""

import fcntl
from pathlib import Path
from typing import TextIO

from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.errors import StorageError

HEAD = "0002"
FOLDER = Path(__file__).parent


def ensure_schema(database: Database, *, lock_file: Path) -> None:
    """Apply what is missing; does nothing, quickly, when nothing is.

    Raises:
        StorageError: the database is newer than this code, or cannot be used.
    """
    with _opened(lock_file) as lock:
        # Several processes start at once; the first one migrates and the others find it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if schema_version(database) != HEAD:
                _upgrade(database)
        except SQLAlchemyError as exc:
            raise StorageError(f"the database cannot be used: {type(exc).__name__}") from exc


def _opened(lock_file: Path) -> TextIO:
    try:
        return lock_file.open("w")
    except OSError as exc:
        raise StorageError(f"{lock_file} cannot be written: {exc.strerror}") from exc


def schema_version(database: Database) -> str | None:
    """Give the database's schema version, or None when it is empty."""
    with database.writer_engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(database: Database) -> None:
    # Alembic takes most of a second to import, and is seldom needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    version = schema_version(database)
    if version is not None and version not in known:
        raise StorageError(
            f"the database has schema {version}, which is newer than this Keystone knows ({HEAD}); "
            "install the newer Keystone again, or restore a backup"
        )
    with database.writer_engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
