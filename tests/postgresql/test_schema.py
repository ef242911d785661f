"""The schema on PostgreSQL: that of the code, reached from every release, its audit trail kept."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlmodel import SQLModel

from jobs.errors import NotFoundError, StorageError
from jobs.processes.runtime import Runtime, open_runtime, open_to_change, open_to_read
from jobs.records.audit import Tag, note
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import HEAD, ensure_schema, migrate_to, schema_version
from tests.jobs.bench import TESTER, Bench
from tests.jobs.released_rows import KEY, Row, fill
from tests.jobs.test_upgrades import (  # noqa: F401 — run here, with the fixtures of this file
    revision,
    test_a_request_is_known_again_and_githubs_ids_stay_where_they_are,
    test_actors_are_unchanged_and_still_protected,
    test_each_migration_can_be_undone_and_done_again,
    test_every_row_is_still_there,
    test_known_data_is_shown_after_an_upgrade,
    test_secrets_are_opened_and_people_are_known,
    test_what_deliveries_have_claimed_is_taken_back,
    test_work_goes_on,
    upgraded_between_two_clicks,
)
from tests.postgresql.server import Server

REPLACE = """
    INSERT INTO audit_events SELECT * FROM audit_events
    ON CONFLICT (id) DO UPDATE SET actor_name = 'nobody'
"""


@pytest.fixture
def bare(bare_url: str) -> Iterator[Database]:
    """A database without any schema."""
    with closing(Database(bare_url)) as database:
        yield database


@pytest.fixture
def empty(bare: Database) -> Database:
    """A database without any schema."""
    return bare


@pytest.fixture
def put(bare: Database, revision: str) -> dict[str, Row]:  # noqa: F811
    """Make a database of a released schema, and give the rows in it."""
    migrate_to(bare, revision)
    with bare.writer_engine.begin() as connection:
        put = fill(connection)
        _count_on(connection, [name for name, row in put.items() if "id" in row])
    return put


@pytest.fixture
def upgraded(bare: Database, put: dict[str, Row], tmp_path: Path) -> Iterator[Runtime[Settings]]:
    """Open that database with the Keystone of today."""
    assert put
    runtime = open_runtime(Settings(data_dir=tmp_path, secret_key=KEY, database_url=bare.url))
    yield runtime
    runtime.database.close()


def _count_on(connection: Connection, tables: list[str]) -> None:
    """Give the next row the next id, as if the rows had got theirs from the database."""
    for name in tables:
        sequence = f"pg_get_serial_sequence('{name}', 'id')"
        highest = f"SELECT max(id) FROM {name}"  # noqa: S608 — names of our own
        connection.execute(text(f"SELECT setval({sequence}, ({highest}))"))


def test_the_migrations_make_exactly_the_tables_of_the_code(bench: Bench) -> None:
    with bench.runtime.database.writer_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_failed_migration_leaves_nothing(bare: Database) -> None:
    """What a migration would make is in its way."""
    migrate_to(bare, "0001")
    with bare.writer_engine.begin() as connection:
        connection.execute(text("CREATE TABLE branch_heads (id integer)"))
    with pytest.raises(ProgrammingError, match="already exists"):
        migrate_to(bare, HEAD)
    assert schema_version(bare) == "0001"
    with bare.reader_engine.connect() as connection:
        assert not connection.execute(text("SELECT to_regclass('catch_ups')")).scalar()


def migrate(url: str, folder: Path) -> str | None:
    """Bring a database up to date in a process of its own, whose lock file is its own as well."""
    with closing(Database(url)) as database:
        ensure_schema(database, lock_file=folder / f"{os.getpid()}.lock")
        return schema_version(database)


def test_machines_that_start_at_once_all_find_the_schema(bare_url: str, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(migrate, [(bare_url, tmp_path)] * 3) == [HEAD] * 3


def test_a_newer_schema_is_refused_with_a_sentence(bench: Bench, tmp_path: Path) -> None:
    database = bench.runtime.database
    with database.writer_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE schema_use SET oldest = '9999'"))
    with pytest.raises(StorageError, match=r"schema 9999, which is newer.*restore a backup"):
        ensure_schema(database, lock_file=tmp_path / "migrate.lock")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor_name = 'nobody'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        REPLACE,
    ],
    ids=lambda statement: statement.split()[0],
)
def test_the_audit_trail_is_kept_even_from_the_databases_own_user(
    bench: Bench, url: str, server: Server, statement: str
) -> None:
    with bench.writing() as session:
        note(session, Tag.KEYSTONE_BACKED_UP, TESTER, "keystone")
    with server.connect(make_url(url).database or "") as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="never changed or removed"):
            connection.execute(statement.encode())
        kept = connection.execute("SELECT actor_kind, actor_name FROM audit_events").fetchall()
    assert kept == [(TESTER.kind, TESTER.name)]


class TestOpeningForACommand:
    def test_an_empty_database_is_no_keystone_and_stays_empty(
        self, bare: Database, tmp_path: Path
    ) -> None:
        settings = Settings(data_dir=tmp_path / "none", secret_key=KEY, database_url=bare.url)
        for opening in (open_to_read, open_to_change):
            with pytest.raises(NotFoundError, match="in the database that KEYSTONE_DATABASE_URL"):
                opening(settings)
        assert schema_version(bare) is None
        assert not settings.data_dir.exists()

    def test_from_any_folder_it_is_opened_with_the_key_of_the_settings(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        known = bench.runtime.settings
        settings = known.model_copy(update={"data_dir": tmp_path / "none"})
        for opening in (open_to_read, open_to_change):
            runtime = opening(settings)
            assert runtime.identity == bench.runtime.identity
            runtime.database.close()
        assert not settings.data_dir.exists()

    def test_it_is_read_by_transactions_that_cannot_write(self, bench: Bench) -> None:
        runtime = open_to_read(bench.runtime.settings)
        with (
            closing(runtime.database),
            pytest.raises(StorageError, match="read-only"),
            runtime.database.reading() as session,
        ):
            session.execute(text("DELETE FROM users"))
