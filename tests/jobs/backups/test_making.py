"""Making a backup: one moment of a Keystone that goes on working, or nothing at all."""

import io
import threading
from pathlib import Path

import pytest
from sqlmodel import col, func, select

from jobs.backups.archive import unpack
from jobs.backups.keys import Ring
from jobs.backups.making import Contents, save_backup
from jobs.backups.manifest import Manifest
from jobs.errors import ConfigurationError, ConflictError, NotFoundError, StorageError
from jobs.records.audit import Tag, note
from jobs.settings import WorkerSettings
from jobs.storage.database import Database
from jobs.storage.models import App, AuditEvent
from jobs.storage.sqlite_files import copy_database, ensure_sound, sqlite_url
from jobs.storage.vault import KEY_FILE, make_key
from tests.jobs.backups.conftest import ADA, backup_of, silent
from tests.jobs.bench import Bench

PAIRS = 200


def unpacked(backup: bytes, folder: Path) -> Manifest:
    folder.mkdir()
    return unpack(io.BytesIO(backup), folder)


@pytest.mark.parametrize(
    ("contents", "names"),
    [
        (Contents(), {"keystone.db", "secret.key"}),
        (Contents(key=False), {"keystone.db"}),
        (Contents(logs=True), {"keystone.db", "secret.key", "logs/1.log"}),
        (Contents(database=False), {"secret.key"}),
    ],
)
@pytest.mark.usefixtures("app")
def test_a_backup_has_the_requested_contents(
    settings: WorkerSettings, tmp_path: Path, contents: Contents, names: set[str]
) -> None:
    (settings.logs_dir / "notes.log").write_text("of somebody else's")
    manifest = unpacked(backup_of(settings, contents), tmp_path / "out")
    assert manifest.files.keys() == names


def test_a_backup_is_consistent_while_others_write(bench: Bench, tmp_path: Path) -> None:
    over = threading.Event()

    def write_pairs() -> None:
        while not over.is_set():
            with bench.writing() as session:
                for part in ("first", "second"):
                    note(session, Tag.APP_CHANGED, ADA, part)

    writer = threading.Thread(target=write_pairs)
    writer.start()
    try:
        source = bench.runtime.settings.data_dir / "keystone.db"
        for number in range(5):
            copy_database(source, tmp_path / f"copy-{number}.db")
    finally:
        over.set()
        writer.join(60)
    for copy in sorted(tmp_path.glob("copy-*.db")):
        ensure_sound(copy)
        database = Database(sqlite_url(copy))
        with database.reading() as session:
            firsts, seconds = (
                session.exec(select(func.count()).where(col(AuditEvent.target) == part)).one()
                for part in ("first", "second")
            )
        database.close()
        assert firsts == seconds


def test_a_backup_has_no_removed_data(
    bench: Bench, app: App, settings: WorkerSettings, tmp_path: Path
) -> None:
    with bench.writing() as session:
        session.get_one(App, app.id).paused_reason = "a-reason-that-was-taken-back" * 10
    with bench.writing() as session:
        session.get_one(App, app.id).paused_reason = ""
    unpacked(backup_of(settings), tmp_path / "out")
    assert b"a-reason-that-was-taken-back" not in (tmp_path / "out" / "keystone.db").read_bytes()


def test_a_file_that_is_there_is_kept_unless_forced(
    bench: Bench, settings: WorkerSettings, tmp_path: Path
) -> None:
    assert bench.runtime.identity
    file = tmp_path / "backup.tar.gz"
    file.write_text("an earlier one")
    with pytest.raises(ConflictError, match="is there already"):
        save_backup(settings, file, Contents(), force=False, progress=silent)
    assert file.read_text() == "an earlier one"
    save_backup(settings, file, Contents(), force=True, progress=silent)
    assert unpacked(file.read_bytes(), tmp_path / "out").identity == bench.runtime.identity
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("file", ["/dev/full/backup", "/proc/backup", "/nowhere/at/all"])
@pytest.mark.usefixtures("bench")
def test_a_place_that_cannot_be_written_is_told(settings: WorkerSettings, file: str) -> None:
    with pytest.raises(StorageError, match=f"{file} cannot be written: "):
        save_backup(settings, Path(file), Contents(), force=False, progress=silent)


@pytest.mark.usefixtures("bench")
def test_a_failed_backup_leaves_no_file(settings: WorkerSettings, tmp_path: Path) -> None:
    (settings.data_dir / KEY_FILE).unlink()
    target = tmp_path / "backups"
    target.mkdir()
    with pytest.raises(NotFoundError, match="or say --without-key"):
        save_backup(settings, target / "b", Contents(), force=False, progress=silent)
    assert list(target.iterdir()) == []
    assert list(settings.data_dir.glob(".unfinished*")) == []


def test_without_a_keystone_there_is_nothing_to_back_up(settings: WorkerSettings) -> None:
    settings.data_dir.mkdir()
    with pytest.raises(NotFoundError, match="there is no Keystone in"):
        backup_of(settings, Contents(key=False))
    assert list(settings.data_dir.iterdir()) == []


@pytest.mark.usefixtures("bench")
def test_postgresql_is_left_to_its_own_tool(settings: WorkerSettings) -> None:
    other = settings.model_copy(update={"database_url": "postgresql+psycopg://nowhere/keystone"})
    with pytest.raises(ConfigurationError, match=r"pg_dump.*--without-database"):
        backup_of(other)


def test_keys_that_were_rotated_while_the_database_was_copied_are_both_in_it() -> None:
    old, new = make_key(), make_key()
    both = Ring([old], "before") | Ring([new], "after")
    assert both.keys == [new, old]
    assert both.text.get_secret_value() == f"{new.get_secret_value()},{old.get_secret_value()}"
