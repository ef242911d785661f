"""Makes a backup of a Keystone while that keeps running.

The copy of the database is a snapshot; later deployments are not in the backup. Making a backup
changes nothing of Keystone, and creates nothing that did not exist, such as a key.
"""

import io
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import text

from jobs.backups.archive import ArchiveWriter
from jobs.backups.keys import present_ring
from jobs.backups.manifest import (
    DATABASE,
    FORMAT,
    KEY,
    LOG,
    MANIFEST,
    MOST_LOGS,
    Manifest,
)
from jobs.backups.staging import staging
from jobs.errors import ConfigurationError, ConflictError, StorageError
from jobs.processes.runtime import find_keystone
from jobs.records.audit import Tag, note
from jobs.records.identity import known_identity
from jobs.rules.actors import Actor
from jobs.settings import Settings
from jobs.storage.database import Database
from jobs.storage.models import now
from jobs.storage.sqlite_files import copy_database, is_sqlite, sqlite_path, sqlite_url

logger = logging.getLogger(__name__)

# Called with the current action, the number of bytes done and the total number of bytes.
Progress = Callable[[str, int, int], None]
POSTGRESQL = (
    "the database is PostgreSQL's: back it up with pg_dump, and the key and the identity with "
    "`keystone backup FILE --without-database`"
)


@dataclass(frozen=True)
class Contents:
    """The parts that a backup includes."""

    database: bool = True
    key: bool = True
    logs: bool = False


def save_backup(
    settings: Settings, file: Path, contents: Contents, *, force: bool, progress: Progress
) -> Manifest:
    """Make a backup that only this user can read; the file appears only once it is complete.

    Raises:
        ConflictError: the file exists already, and `force` is not set.
        StorageError: the file cannot be written.
    """
    with _completed(file, force=force) as target:
        return write_backup(settings, target, contents, progress=progress)


@contextmanager
def _completed(file: Path, *, force: bool) -> Iterator[BinaryIO]:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        if file.is_dir() or (file.exists() and not force):
            raise ConflictError(f"{file} is there already; choose another name, or say --force")
        draft.touch(mode=0o600, exist_ok=False)
        with draft.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        if not force and file.exists():
            raise ConflictError(f"{file} has been made meanwhile; choose another name")
        draft.replace(file)
    except OSError as exc:
        where = file if exc.filename in {None, str(draft)} else exc.filename
        raise StorageError(f"{where} cannot be written: {exc.strerror}") from exc
    finally:
        with suppress(OSError):
            draft.unlink()


def write_backup(
    settings: Settings, target: BinaryIO, contents: Contents, *, progress: Progress
) -> Manifest:
    """Write a backup to a stream.

    Raises:
        NotFoundError: there is no Keystone with these settings, or no key.
        ConfigurationError: the database is PostgreSQL, which only its own tools can copy.
        StorageError: something cannot be read.
    """
    if contents.database and not is_sqlite(settings.effective_database_url):
        raise ConfigurationError(POSTGRESQL)
    find_keystone(settings)[0].close()
    ring = present_ring(settings) if contents.key else None
    archive, begun = ArchiveWriter(target), now()
    with staging(settings.data_dir) as folder:
        copy = _copied(settings, folder, progress) if contents.database else None
        about = _about(copy or settings.effective_database_url, begun)
        if copy is not None:
            _add(archive, DATABASE, folder / DATABASE, progress)
    if ring is not None:
        both = ring | present_ring(settings)
        _add_bytes(archive, KEY, both.text.get_secret_value().encode())
    for log in _logs(settings.logs_dir) if contents.logs else []:
        _add(archive, f"logs/{log.name}", log, progress)
    manifest = about.model_copy(update={"files": dict(archive.members)})
    _add_bytes(archive, MANIFEST, manifest.model_dump_json(indent=1).encode())
    archive.close()
    return manifest


def _copied(settings: Settings, folder: Path, progress: Progress) -> str:
    """Copy the database as it is now, and return the copy's URL."""
    path = sqlite_path(settings.effective_database_url)
    size = path.stat().st_size
    copy_database(
        path, folder / DATABASE, tick=lambda done: progress("copying the database", done, size)
    )
    return sqlite_url(folder / DATABASE)


def _about(url: str, begun: datetime) -> Manifest:
    database = Database(url)
    try:
        with database.reading() as session:
            identity = known_identity(session)
            schema = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    finally:
        database.close()
    return Manifest(
        format=FORMAT,
        keystone=version("keystone"),
        made_at=begun,
        identity=identity,
        schema_version=schema,
        files={},
    )


def _logs(folder: Path) -> list[Path]:
    """List the deployments' logs, the newest first."""
    found = [path for path in folder.glob("*.log") if LOG.fullmatch(f"logs/{path.name}")]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)[:MOST_LOGS]


def _add(archive: ArchiveWriter, name: str, path: Path, progress: Progress) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # the housekeeping removed this log meanwhile
    with file:
        done, size = 0, os.fstat(file.fileno()).st_size

        def tick(more: int) -> None:
            nonlocal done
            done += more
            progress(f"packing {name}", done, size)

        archive.add(name, file, size, tick=tick)


def _add_bytes(archive: ArchiveWriter, name: str, content: bytes) -> None:
    archive.add(name, io.BytesIO(content), len(content), tick=lambda _more: None)


def note_backup(settings: Settings, manifest: Manifest, actor: Actor) -> None:
    """Record that a backup was made; a failure to record does not invalidate the backup."""
    database = Database(settings.effective_database_url)
    try:
        with database.writing() as session:
            note(
                session,
                Tag.KEYSTONE_BACKED_UP,
                actor,
                "keystone",
                database=DATABASE in manifest.files,
                key=KEY in manifest.files,
                logs=len(manifest.logs),
            )
    except StorageError as exc:
        logger.warning("%s", exc, extra={"action": "backup_not_noted"})
    finally:
        database.close()
