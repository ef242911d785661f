"""The schema's history leads to the schema of the code, once, whoever starts first."""

import multiprocessing
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

from jobs.errors import StorageError
from jobs.processes.runtime import open_runtime
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import HEAD, ensure_schema, schema_version


def database_in(folder: Path) -> Database:
    return Database(f"sqlite:///{folder}/keystone.db")


def migrate(folder: Path) -> str | None:
    """Bring a database up to date in a process of its own."""
    database = database_in(folder)
    ensure_schema(database, lock_file=folder / "migrate.lock")
    found = schema_version(database)
    database.close()
    return found


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    migrate(tmp_path)
    database = database_in(tmp_path)
    with database.writer_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    database.close()


def test_what_autogenerate_does_not_compare_is_the_same_too(tmp_path: Path) -> None:
    """Checks, and whether ids are used once, are in SQLite's own words only."""
    migrate(tmp_path)
    migrated, made = database_in(tmp_path), Database(f"sqlite:///{tmp_path}/made.db")
    SQLModel.metadata.create_all(made.writer_engine)
    words = ("AUTOINCREMENT", "CHECK", "CASCADE", "SET NULL", "UNIQUE")
    counts = []
    for database in (migrated, made):
        with database.writer_engine.connect() as connection:
            # The triggers that keep the audit trail are the migrations' alone.
            query = "SELECT name, sql FROM sqlite_master WHERE sql <> '' AND type <> 'trigger'"
            rows = connection.execute(text(query))
            counts.append(
                {
                    name: [sql.count(word) for word in words]
                    for name, sql in rows
                    if name != "alembic_version"
                }
            )
        database.close()
    assert counts[0] == counts[1]


def test_an_empty_database_has_no_version(tmp_path: Path) -> None:
    database = database_in(tmp_path)
    assert schema_version(database) is None
    database.close()


def test_a_second_start_changes_nothing_and_is_quick(tmp_path: Path) -> None:
    assert migrate(tmp_path) == HEAD
    took = []
    for _ in range(10):
        begun = time.monotonic()
        assert migrate(tmp_path) == HEAD
        took.append(time.monotonic() - begun)
    assert min(took) < 0.5  # whatever else the machine does meanwhile


def test_processes_that_start_at_once_all_find_the_schema(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(migrate, [tmp_path] * 4) == [HEAD] * 4


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path: Path) -> None:
    migrate(tmp_path)
    database = database_in(tmp_path)
    with database.writer_engine.connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE schema_use SET oldest = '9999'"))
        connection.commit()
    with pytest.raises(StorageError, match=r"schema 9999, which is newer.*restore a backup"):
        ensure_schema(database, lock_file=tmp_path / "migrate.lock")
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keystone.db").write_text("not a database at all, but long enough to be read")
    with pytest.raises(StorageError, match="cannot be used"):
        migrate(tmp_path)


@pytest.mark.parametrize("data_dir", ["/dev/null/data", "/proc/keystone"])
def test_a_data_directory_that_cannot_be_made_is_a_storage_error(data_dir: str) -> None:
    with pytest.raises(StorageError, match="cannot be made"):
        open_runtime(Settings(data_dir=Path(data_dir)))
