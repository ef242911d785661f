"""The shared resources of every Keystone process: settings, database, vault, queue and bus.

There are three ways to open them. `open_runtime` creates a Keystone if there is none and migrates
an older one: for `keystone up` with its parts, `demo` and `migrate`. Every other command uses
`open_to_change` or `open_to_read`, which require an existing Keystone and create nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from jobs.errors import ConflictError, NotFoundError, StorageError
from jobs.processes.bus import WAKE_TIMEOUT_S, Bus, connect
from jobs.processes.queue import WorkQueue
from jobs.records.identity import ensure_identity, known_identity
from jobs.records.vault_keys import ensure_key_is_kept, ensure_keys, look_at_keys
from jobs.settings import Settings, split_keys
from jobs.storage.database import Database, ReadOnlyDatabase
from jobs.storage.migrations.apply import HEAD, allows, ensure_schema, newer, schema_of
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.storage.vault import Vault

OwnSettings = TypeVar("OwnSettings", bound=Settings)


@dataclass(frozen=True)
class Runtime(Generic[OwnSettings]):
    """One process's access to its Keystone."""

    settings: OwnSettings
    database: Database
    vault: Vault
    identity: str
    queue: WorkQueue
    bus: Bus


def open_runtime(settings: OwnSettings) -> Runtime[OwnSettings]:
    """Open everything; create what is missing, and migrate an older schema.

    Redis need not answer yet.

    Raises:
        ConfigurationError: the secret key is invalid, or does not decrypt all sealed values.
        StorageError: the data directory or the database cannot be used, or is newer than the code.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{settings.data_dir} cannot be made: {exc.strerror}") from exc
    database = Database(settings.effective_database_url)
    ensure_schema(database, lock_file=settings.data_dir / "migrate.lock")
    with database.writing() as session:
        vault = _open_vault(session, settings)
        identity = ensure_identity(session)
    return _runtime(settings, database, vault, identity)


def open_to_change(settings: OwnSettings) -> Runtime[OwnSettings]:
    """Open an existing Keystone to change something in it.

    Raises:
        NotFoundError: there is no Keystone.
        ConflictError: its database must be migrated first.
        ConfigurationError, StorageError: as `open_to_read`.
    """
    seen = open_to_read(settings)
    seen.database.close()
    database = Database(settings.effective_database_url)
    with database.writing() as session:
        vault = _open_vault(session, settings)
    return replace(seen, database=database, vault=vault)


def open_to_read(settings: OwnSettings) -> Runtime[OwnSettings]:
    """Open an existing Keystone read-only: nothing is written or created.

    Raises:
        NotFoundError: there is no Keystone.
        ConflictError: its database must be migrated first.
        ConfigurationError: the secret key is invalid, or does not decrypt all sealed values.
        StorageError: the database or the key cannot be read, or it is newer than the code.
    """
    database, version = find_keystone(settings)
    with _closed_on_error(database), database.reading() as session:
        _ensure_up_to_date(session, version)
        identity = known_identity(session)
        if not identity:  # the first start was killed before it stored an identity
            raise NotFoundError(_none_there(settings))
        ensure_key_is_kept(session, settings)
        vault = Vault.for_reading(settings.secret_key, settings.data_dir)
        look_at_keys(session, vault, settings)
        return _runtime(settings, database, vault, identity)


def find_keystone(settings: Settings) -> tuple[ReadOnlyDatabase, str]:
    """Give the database of the existing Keystone, and its schema version.

    Raises:
        NotFoundError: there is no Keystone.
        StorageError: the database cannot be read.
    """
    database = ReadOnlyDatabase(settings.effective_database_url)
    with _closed_on_error(database):
        version = _schema_of(database) if all(map(_is_there, _needed(settings))) else None
        if version is None:
            raise NotFoundError(_none_there(settings))
    return database, version


@contextmanager
def _closed_on_error(database: Database) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


def _needed(settings: Settings) -> Iterator[Path]:
    """Give the paths that exist if there is a Keystone."""
    url = settings.effective_database_url
    if is_sqlite(url):
        yield sqlite_path(url)
    if not split_keys(settings.secret_key):
        yield settings.data_dir


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}") from exc


def _schema_of(database: Database) -> str | None:
    try:
        with database.reading() as session:
            return schema_of(session.connection())
    except DatabaseError as exc:
        raise StorageError(f"the database cannot be read: {exc.orig}") from exc


def _none_there(settings: Settings) -> str:
    names = ", or in the database that KEYSTONE_DATABASE_URL names" if settings.database_url else ""
    return (
        f"there is no Keystone in {settings.data_dir}{names}: run this in the folder where "
        "`keystone up` runs, or set KEYSTONE_DATA_DIR; `keystone up` makes a new one"
    )


def _open_vault(session: Session, settings: Settings) -> Vault:
    """Open the vault; create a key if there is none, unless a key has been lost."""
    ensure_key_is_kept(session, settings)
    vault = Vault.from_settings(settings.secret_key, settings.data_dir)
    ensure_keys(session, vault, settings)
    return vault


def _ensure_up_to_date(session: Session, version: str) -> None:
    # Version names are numbers of equal length, so older versions sort first.
    if version > HEAD and not allows(session.connection(), version):
        raise newer(version)
    if version < HEAD:
        raise ConflictError(
            f"the database has schema {version}, and this Keystone needs {HEAD}: `keystone up` or "
            "`keystone migrate` brings it up to date; nothing was changed"
        )


def _runtime(
    settings: OwnSettings, database: Database, vault: Vault, identity: str
) -> Runtime[OwnSettings]:
    url = settings.effective_redis_url
    return Runtime(
        settings=settings,
        database=database,
        vault=vault,
        identity=identity,
        queue=WorkQueue(connect(url, timeout_s=WAKE_TIMEOUT_S), identity),
        bus=Bus(connect(url), identity),
    )
