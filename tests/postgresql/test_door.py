"""The one door to the database, with PostgreSQL behind it."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlmodel import Session

import jobs.storage.database
from jobs.errors import StorageError
from jobs.processes.runtime import open_runtime
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.models import Identity
from tests.jobs.bench import Bench
from tests.postgresql.others import PATIENCE_MS, Others
from tests.postgresql.server import Server

LONGEST_S = 9  # of those who are as patient as the web process is


@pytest.fixture
def database(bench: Bench) -> Database:
    return bench.runtime.database


@pytest.fixture
def impatient(url: str) -> Iterator[Database]:
    """Another process, which does not wait long."""
    with closing(Database(url, busy_timeout_ms=100)) as other:
        yield other


def rename(session: Session) -> None:
    session.get_one(Identity, 1).name = "other"
    session.flush()


def name(session: Session) -> str:
    return session.get_one(Identity, 1).name


def end_connections(server: Server, url: str) -> None:
    """Have the server end every connection to a database, as a restart of it does."""
    with server.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s",
            [make_url(url).database],
        )


# --- Writing ---------------------------------------------------------------------------------


def test_a_writer_waits_for_the_one_before_it_in_another_process(
    bench: Bench, others: Others
) -> None:
    with bench.writing() as session:
        rename(session)
        read = others.meanwhile(name)
        assert not read.done()
    assert read.result() == "other"


def test_a_lock_held_too_long_is_a_storage_error(database: Database, impatient: Database) -> None:
    with database.writing() as session:
        rename(session)
        begun = time.monotonic()
        with pytest.raises(StorageError, match="lock timeout"), impatient.writing() as other:
            name(other)
        assert 0.05 < time.monotonic() - begun < LONGEST_S


def test_a_writer_without_time_left_is_refused_at_once(bench: Bench, others: Others) -> None:
    patient = others.another().runtime.database
    with bench.writing() as session:
        rename(session)
        begun = time.monotonic()
        with pytest.raises(StorageError), patient.writing(until=begun + 0.1) as other:
            name(other)
        assert time.monotonic() - begun < PATIENCE_MS / 1000 - 1


def test_a_writer_that_is_stopped_in_the_middle_loses_its_turn(
    bench: Bench, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hurried:
        hurried.setattr(jobs.storage.database, "STUCK_AFTER_MS", 200)
        with pytest.raises(StorageError), others.another().writing() as session:
            stop_while(session, bench)
    with bench.reading() as session:
        assert name(session) != "other"


def stop_while(session: Session, bench: Bench) -> None:
    """Write, and say nothing more before another process has written."""
    rename(session)
    with bench.writing() as other:
        assert name(other) != "other"


# --- Reading ---------------------------------------------------------------------------------


def test_a_reader_cannot_write(bench: Bench) -> None:
    with pytest.raises(StorageError, match="read-only transaction"), bench.reading() as session:
        rename(session)


def test_a_reader_does_not_wait_for_a_writer_and_sees_one_moment(
    bench: Bench, impatient: Database
) -> None:
    with impatient.reading() as reading:
        before = name(reading)
        with bench.writing() as session:
            rename(session)
            with impatient.reading() as other:
                assert name(other) == before
        reading.expire_all()
        assert name(reading) == before
    with impatient.reading() as reading:
        assert name(reading) == "other"


def test_times_come_back_in_utc_whatever_the_servers_zone(bench: Bench, server: Server) -> None:
    with server.connect() as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
    app = bench.app()
    found = bench.fresh(app).created_at
    assert (found, found.tzinfo) == (app.created_at, UTC)


# --- The server is gone ----------------------------------------------------------------------


def test_a_connection_that_breaks_is_a_storage_error_and_the_next_one_works(
    bench: Bench, server: Server, url: str
) -> None:
    for opened in (bench.writing, bench.reading):
        with pytest.raises(StorageError, match="terminat"), opened() as session:
            break_off(session, server, url)
        with opened() as session:
            assert name(session)


def break_off(session: Session, server: Server, url: str) -> None:
    """Have the server restarted between two looks."""
    assert name(session)
    end_connections(server, url)
    session.expire_all()
    name(session)


def test_after_a_restart_of_the_server_everything_goes_on(
    bench: Bench, server: Server, url: str
) -> None:
    for opened in (bench.writing, bench.reading):
        end_connections(server, url)
        with opened() as session:
            assert name(session)


def test_connections_to_a_server_that_has_become_a_standby_are_not_used_again(
    bench: Bench, database: Database
) -> None:
    with closing(database.writer_engine.raw_connection()) as connection:
        # What a former primary does: it answers, and refuses to write.
        connection.cursor().execute("SET default_transaction_read_only = on")
        connection.commit()
    with pytest.raises(StorageError, match="read-only transaction"), bench.writing() as session:
        rename(session)
    with bench.writing() as session:
        rename(session)
    with bench.reading() as session:
        assert name(session) == "other"


def test_a_statement_that_is_repeated_bears_a_migration_meanwhile(
    bench: Bench, server: Server, url: str
) -> None:
    for opened in (bench.writing, bench.reading):
        for _ in range(9):
            with opened() as session:
                assert name(session)
        with server.connect(str(make_url(url).database)) as connection:
            connection.execute("ALTER TABLE identity ALTER COLUMN name TYPE varchar(99)")
            connection.execute("ALTER TABLE identity ALTER COLUMN name TYPE text")
        with opened() as session:
            assert name(session)


def test_a_server_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    nowhere = f"postgresql+psycopg://ada:s3cret@/keystone?host={tmp_path}"
    with closing(Database(nowhere)) as database:
        for opened in (database.reading, database.writing):
            with pytest.raises(StorageError) as caught, opened() as session:
                name(session)
            assert "s3cret" not in str(caught.value)
    with pytest.raises(StorageError, match="cannot be used"):
        open_runtime(Settings(data_dir=tmp_path, database_url=nowhere))


def test_what_the_url_asks_of_the_server_stays(url: str) -> None:
    with closing(Database(f"{url}&options=-capplication_name%3Dada")) as database:
        for opened in (database.reading, database.writing):
            with opened() as session:
                assert session.scalar(text("SHOW application_name")) == "ada"


def test_the_message_shows_no_values(bench: Bench) -> None:
    with pytest.raises(StorageError) as caught, bench.reading() as session:
        session.execute(text("UPDATE identity SET name = :name"), {"name": "s3cret"})
    assert "s3cret" not in str(caught.value)
