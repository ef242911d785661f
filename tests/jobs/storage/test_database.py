"""The one door to the database: writers queue, readers cannot write, failures are Keystone's."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import Session, select

import jobs.storage.database
from jobs.errors import StorageError
from jobs.records.apps import add_app
from jobs.rules.actors import KEYSTONE
from jobs.rules.app_fields import AppInput
from jobs.settings import Settings
from jobs.storage.database import KEPT_READERS, READERS, Database, ReadOnlyDatabase
from jobs.storage.models import App, Identity, Repository
from jobs.storage.sqlite_files import sqlite_url
from jobs.storage.vault import Vault
from tests.jobs.bench import Bench

PROCESSES = 8
EACH = 5


@pytest.fixture
def database(bench: Bench) -> Database:
    return bench.runtime.database


@pytest.fixture
def impatient(database: Database) -> Iterator[Database]:
    other = Database(database.url, busy_timeout_ms=100)
    yield other
    other.close()


def add_apps(data_dir: Path, worker: int) -> list[int]:
    """Make apps in a process of its own, and give their ports."""
    settings = Settings(data_dir=data_dir)
    # More patience than the usual: whoever is unlucky may wait for all the others' writes.
    database = Database(settings.effective_database_url, busy_timeout_ms=60_000)
    vault = Vault([SecretStr("a key that only the tests use")])
    ports = []
    for number in range(EACH):
        wanted = AppInput(name=f"app-{worker}-{number}", repository="octo/web")
        with database.writing() as session:
            created = add_app(session, wanted, KEYSTONE, settings=settings, vault=vault)
            ports.append(created.app.host_port)
    database.close()
    return ports


class TestWriting:
    def test_processes_at_once_never_get_the_same_port(self, bench: Bench) -> None:
        data_dir = bench.runtime.settings.data_dir
        with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
            jobs = [(data_dir, number) for number in range(PROCESSES)]
            ports = [port for found in pool.starmap(add_apps, jobs) for port in found]
        assert sorted(ports) == list(range(20000, 20000 + PROCESSES * EACH))
        with bench.reading() as session:
            assert len(session.exec(select(Repository)).all()) == 1

    def test_a_writer_stands_in_line_behind_another_of_its_process(
        self, database: Database
    ) -> None:
        order: list[str] = []

        def write() -> None:
            with database.writing() as session:
                session.get_one(Identity, 1)
                order.append("second")

        with database.writing():
            second = threading.Thread(target=write)
            second.start()
            second.join(0.2)
            order.append("first")
        second.join(60)
        assert order == ["first", "second"]

    def test_the_line_is_left_when_it_takes_too_long(self, impatient: Database) -> None:
        begun = time.monotonic()
        with impatient.writing(), pytest.raises(StorageError), impatient.writing():
            pass
        assert time.monotonic() - begun < 9

    def test_who_has_no_time_left_is_refused_at_once(
        self, database: Database, impatient: Database
    ) -> None:
        patient = Database(database.url)
        begun = time.monotonic()
        with database.writing() as session:
            session.get_one(Identity, 1)
            with (
                pytest.raises(StorageError, match="database is locked"),
                patient.writing(until=begun + 0.1) as other,
            ):
                other.get_one(Identity, 1)
        with (
            impatient.writing(),
            pytest.raises(StorageError, match="another writer"),
            impatient.writing(until=begun),
        ):
            pass
        assert time.monotonic() - begun < 9
        patient.close()

    def test_a_block_that_raises_changes_nothing(self, database: Database) -> None:
        with suppress(ZeroDivisionError), database.writing() as session:
            session.get_one(Identity, 1).name = "other"
            session.flush()
            raise ZeroDivisionError
        with database.reading() as session:
            assert session.get_one(Identity, 1).name != "other"

    def test_a_lock_held_too_long_is_a_storage_error(
        self, database: Database, impatient: Database
    ) -> None:
        with database.writing() as session:
            session.get_one(Identity, 1)
            begun = time.monotonic()
            with (
                pytest.raises(StorageError, match="database is locked"),
                impatient.writing() as other,
            ):
                other.get_one(Identity, 1)
            assert 0.05 < time.monotonic() - begun < 9

    def test_a_reader_does_not_wait_for_a_writer(
        self, database: Database, impatient: Database
    ) -> None:
        with database.writing() as session:
            before = session.get_one(Identity, 1).name
            session.get_one(Identity, 1).name = "other"
            session.flush()
            with impatient.reading() as other:
                assert other.get_one(Identity, 1).name == before

    def test_every_commit_is_on_the_disk(self, database: Database) -> None:
        with database.writer_engine.connect() as connection:
            for pragma, wanted in (
                ("synchronous", 2),
                ("journal_mode", "wal"),
                ("foreign_keys", 1),
            ):
                assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == wanted

    def test_the_message_shows_no_values(self, impatient: Database) -> None:
        with pytest.raises(StorageError) as caught, impatient.writing() as session:
            session.connection().exec_driver_sql("SELECT * FROM no_such WHERE x = 's3cret'")
        assert "s3cret" not in str(caught.value)


class TestReading:
    def test_a_reader_cannot_write(self, database: Database) -> None:
        with pytest.raises(StorageError, match="readonly"), database.reading() as session:
            _add_and_flush(session)

    def test_not_even_around_the_session(self, database: Database) -> None:
        with (
            pytest.raises(StorageError, match="readonly"),
            database.reading() as session,
        ):
            _get_around(session)

    def test_it_sees_one_moment(self, database: Database) -> None:
        with database.reading() as reading:
            before = _name(reading)
            with database.writing() as session:
                session.get_one(Identity, 1).name = "other"
            reading.expire_all()
            assert _name(reading) == before
        with database.reading() as reading:
            assert _name(reading) == "other"

    def test_times_come_back_aware_and_in_utc(self, bench: Bench) -> None:
        app = bench.app()
        assert bench.fresh(app).created_at.tzinfo is UTC

    def test_readers_leave_connections_for_what_is_urgent(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs.storage.database, "POOL_TIMEOUT_S", 0.05)
        with ExitStack() as visitors:
            for _ in range(READERS - KEPT_READERS):
                visitors.enter_context(database.reading()).get(Identity, 1)
            with pytest.raises(StorageError, match="no connection"), database.reading() as session:
                session.get(Identity, 1)
            for _ in range(KEPT_READERS):
                urgent = visitors.enter_context(database.reading(is_urgent=True))
                assert urgent.get(Identity, 1) is not None
        with database.reading() as session:
            assert session.get(Identity, 1) is not None

    def test_a_line_for_connections_that_is_too_long_is_a_storage_error(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database.reader_engine.pool, "_timeout", 0.05)
        with ExitStack() as visitors:
            for _ in range(READERS):
                visitors.enter_context(database.reading(is_urgent=True)).get(Identity, 1)
            with pytest.raises(StorageError, match="no connection"), database.reading() as session:
                session.get(Identity, 1)

    def test_a_database_that_is_not_there(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/none/keystone.db")
        with pytest.raises(StorageError), database.reading() as session:
            session.get(Identity, 1)
        with pytest.raises(StorageError), database.writing() as session:
            session.get(Identity, 1)


def _add_and_flush(session: Session) -> None:
    session.add(Repository(full_name="a/b", name_key="a/b", git_url="https://x/a"))
    session.flush()


def _get_around(session: Session) -> None:
    session.connection().exec_driver_sql("PRAGMA query_only=OFF")
    session.connection().exec_driver_sql("DELETE FROM identity")


def _name(session: Session) -> str:
    return session.get_one(Identity, 1).name


def test_an_odd_folder_is_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s 100%20 "data" #1?'
    folder.mkdir()
    database = Database(Settings(data_dir=folder).effective_database_url)
    Identity.metadata.create_all(database.writer_engine)
    with database.writing() as session:
        session.add(Identity(id=1, name="abcdef"))
    with database.reading() as session:
        assert _name(session) == "abcdef"
    database.close()
    assert {file.parent for file in tmp_path.rglob("*.db*")} == {folder}


def test_after_closing_it_opens_again(database: Database) -> None:
    database.close()
    with database.reading() as session:
        assert session.get(Identity, 1)


def test_the_id_of_what_was_removed_is_never_given_again(bench: Bench) -> None:
    """Else the new app's first deployment would show the old one's log."""
    app = bench.app()
    first = bench.ask(app)
    bench.cancel(first)
    with bench.writing() as session:
        session.delete(session.get_one(App, app.id))
    again = bench.app()
    assert (again.id or 0) > (app.id or 0)
    assert bench.ask(again) > first


class TestReadingWithoutATrace:
    """What a command sees while others open, write and close the same SQLite file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "some name.db"
        with closing(Database(sqlite_url(path))) as database, database.writing() as session:
            session.execute(text("CREATE TABLE counts (value INTEGER)"))
            session.execute(text("INSERT INTO counts VALUES (0), (0)"))
        return path

    def test_of_a_file_that_nobody_has_open(self, path: Path) -> None:
        before = path.read_bytes()
        assert counts(ReadOnlyDatabase(sqlite_url(path))) == [0, 0]
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() == before

    def test_what_another_has_not_yet_moved_into_the_file_is_seen(self, path: Path) -> None:
        with closing(Database(sqlite_url(path))) as database:
            count_on(database)
            assert counts(ReadOnlyDatabase(sqlite_url(path))) == [1, 1]

    def test_each_transaction_sees_what_is_by_then(self, path: Path) -> None:
        reader = ReadOnlyDatabase(sqlite_url(path))
        seen = [counts(reader)]
        with closing(Database(sqlite_url(path))) as database:
            count_on(database)
            seen.append(counts(reader))
        seen.append(counts(reader))
        assert seen == [[0, 0], [1, 1], [1, 1]]

    def test_a_file_that_changed_under_it_is_not_believed(self, path: Path) -> None:
        with ExitStack() as stack:
            session = stack.enter_context(ReadOnlyDatabase(sqlite_url(path)).reading())
            session.execute(text("SELECT value FROM counts")).all()
            with closing(Database(sqlite_url(path))) as database:
                count_on(database)
            with pytest.raises(StorageError, match="changed while it was read"):
                stack.close()

    def test_what_was_read_before_says_nothing_of_a_transaction_that_reads_nothing(
        self, path: Path
    ) -> None:
        reader = ReadOnlyDatabase(sqlite_url(path))
        counts(reader)
        with closing(Database(sqlite_url(path))) as database:
            count_on(database)
        with reader.reading():
            pass

    def test_it_cannot_write(self, path: Path) -> None:
        reader = ReadOnlyDatabase(sqlite_url(path))
        with pytest.raises(RuntimeError, match="reading only"), reader.writing():
            pass
        with pytest.raises(StorageError, match="readonly"), reader.reading() as session:
            session.execute(text("DELETE FROM counts"))

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="unable to open"):
            counts(ReadOnlyDatabase(sqlite_url(tmp_path / "none.db")))
        assert list(tmp_path.iterdir()) == []

    def test_while_others_come_and_go(self, path: Path) -> None:
        """Half a transaction is never seen, and nobody is told that the file cannot be opened."""
        context = multiprocessing.get_context("spawn")
        is_over = context.Event()
        other = context.Process(target=come_and_go, args=(path, is_over))
        other.start()
        try:
            seen = look_until(path, lambda values: values[0] > 200)
        finally:
            is_over.set()
            other.join()
        assert all(first == second for first, second in seen)
        assert seen == sorted(seen)


def come_and_go(path: Path, is_over: Event) -> None:
    """Open, write and close a database again and again."""
    while not is_over.is_set():
        with closing(Database(sqlite_url(path))) as database:
            count_on(database)


def look_until(path: Path, is_enough: Callable[[list[int]], bool]) -> list[list[int]]:
    """Read a database again and again; give all that was seen, and believed."""
    seen = [[0, 0]]
    deadline = time.monotonic() + 200
    while not is_enough(seen[-1]):
        assert time.monotonic() < deadline
        with suppress_only("changed while it was read"):
            seen.append(counts(ReadOnlyDatabase(sqlite_url(path))))
    return seen


@contextmanager
def suppress_only(sentence: str) -> Iterator[None]:
    """Go on after what the database says when it was changed, and after nothing else."""
    try:
        yield
    except StorageError as exc:
        if sentence not in str(exc):
            raise


def counts(database: Database) -> list[int]:
    with database.reading() as session:
        return list(session.execute(text("SELECT value FROM counts")).scalars())


def count_on(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE counts SET value = value + 1"))
