"""Restores a Keystone from a backup.

All checks precede the first change: the backup is unpacked, verified, migrated and prepared in a
separate folder, and only then replaces the present files.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import select

from jobs.backups.archive import unpack
from jobs.backups.keys import Ring, ensure_opens, ring_for_restore
from jobs.backups.manifest import DATABASE, KEY, Manifest
from jobs.backups.placing import Placing
from jobs.backups.staging import staging
from jobs.errors import BackupError, ConflictError, KeystoneError, StorageError
from jobs.processes.supervise import claim_identity, take_over
from jobs.records.identity import known_identity
from jobs.records.reviving import Revived, revive
from jobs.rules.actors import Actor
from jobs.rules.container_values import Container
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import ensure_schema
from jobs.storage.models import Deployment, Repository, now
from jobs.storage.sqlite_files import ensure_sound, is_sqlite, make_whole, sqlite_path, sqlite_url

# Returns the containers of an identity on this machine's engine.
Look = Callable[[str], Sequence[Container]]


@dataclass(frozen=True)
class Restored:
    """The result of a restore.

    Attributes:
        moved: the new paths of the old files.
    """

    manifest: Manifest
    revived: Revived
    moved: Sequence[Path]


def restore_backup(
    settings: Settings, source: BinaryIO, *, force: bool, look: Look, actor: Actor
) -> Restored:
    """Restore a backup into the data directory.

    Args:
        force: restore even if there is a database; it is moved aside.

    Raises:
        ConflictError: a Keystone is running here, or there is a database and `force` is not set.
        BackupError: the file is no backup, is damaged, or does not fit the settings.
        ConfigurationError: the key in the settings does not decrypt the backup's secrets.
        NotFoundError: there is no key.
        StorageError: the backup is newer than this Keystone, or does not fit on the disk.
    """
    url = settings.effective_database_url
    home = sqlite_path(url).parent if is_sqlite(url) else settings.data_dir
    _make_folder(settings.data_dir)
    with take_over(settings.data_dir):
        if is_sqlite(url) and sqlite_path(url).exists():
            _ensure_ours_to_move(sqlite_path(url), force=force)
        with staging(home) as folder:
            manifest = unpack(source, folder)
            _ensure_fit(manifest, url)
            with claim_identity(manifest.identity, settings.data_dir):
                ring = ring_for_restore(settings, folder / KEY)
                with _brought(url, folder, ring) as database:
                    kept_logs, kept_mirrors = _kept(database, url)
                    with database.writing() as session:
                        containers = look(manifest.identity)
                        revived = revive(session, manifest.made_at, containers, actor)
                suffix = f".before-{now():%Y%m%d-%H%M%S}"
                placing = Placing(settings, folder, ring, kept_logs, kept_mirrors, suffix)
                placing.run()
    return Restored(manifest, revived, placing.moved)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{folder} cannot be made: {exc.strerror}") from exc


def _ensure_ours_to_move(path: Path, *, force: bool) -> None:
    if not force:
        raise ConflictError(
            f"there is a database {path} already; say --force to move it aside, or set another "
            "KEYSTONE_DATA_DIR"
        )
    with suppress(BackupError):  # a damaged one is moved as it is
        make_whole(path)


def _ensure_fit(manifest: Manifest, url: str) -> None:
    has_database = DATABASE in manifest.files
    if has_database and not is_sqlite(url):
        raise BackupError(
            "this backup holds an SQLite database, and KEYSTONE_DATABASE_URL names PostgreSQL; "
            "unset it to restore the backup"
        )
    if not has_database and is_sqlite(url):
        raise BackupError(
            "this backup was made --without-database: bring the database back with pg_restore "
            "first, and name it in KEYSTONE_DATABASE_URL"
        )


@contextmanager
def _brought(url: str, folder: Path, ring: Ring) -> Iterator[Database]:
    """Open the restored database: check it, migrate it, and check that the keys decrypt it."""
    staged = folder / DATABASE
    if is_sqlite(url):
        ensure_sound(staged)
    database = Database(sqlite_url(staged) if is_sqlite(url) else url)
    try:
        ensure_schema(database, lock_file=folder / "migrate.lock")
        ensure_opens(database, ring)
        yield database
    finally:
        database.close()
    if is_sqlite(url):
        make_whole(staged)


def _kept(database: Database, url: str) -> tuple[Collection[str], Collection[int]]:
    """Return the ids of the deployments whose logs, and the repositories whose mirrors, may stay.

    Both are empty unless a Keystone is restored over itself: another Keystone uses the same ids for
    other deployments and repositories.
    """
    here = Database(url)
    try:
        if _identity(here) != _identity(database):
            return (), ()
    except (KeystoneError, SQLAlchemyError):
        return (), ()  # there is no database here, or it is damaged
    finally:
        here.close()
    with database.reading() as session:
        deployments = {str(found) for found in session.exec(select(Deployment.id)).all()}
        repositories = {found or 0 for found in session.exec(select(Repository.id)).all()}
    return deployments, repositories


def _identity(database: Database) -> str:
    with database.reading() as session:
        return known_identity(session)
