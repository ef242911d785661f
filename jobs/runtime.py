"""What every process of one Keystone holds: settings, database, vault, lines to the others."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from jobs.bus import Bus, connect
from jobs.database import Database
from jobs.errors import StorageError
from jobs.migrations.apply import ensure_schema
from jobs.queue import WorkQueue
from jobs.records.identity import ensure_identity
from jobs.settings import Settings
from jobs.vault import Vault

OwnSettings = TypeVar("OwnSettings", bound=Settings)


@dataclass(frozen=True)
class Runtime(Generic[OwnSettings]):
    """One process's view of its Keystone."""

    settings: OwnSettings
    database: Database
    vault: Vault
    identity: str
    queue: WorkQueue
    bus: Bus


def open_runtime(settings: OwnSettings) -> Runtime[OwnSettings]:
    """Open everything, bringing the schema up to date first. Redis need not answer yet.

    Raises:
        ConfigurationError: the secret key will not do.
        StorageError: the data directory or the database cannot be used, or is newer than the code.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{settings.data_dir} cannot be made: {exc.strerror}") from exc
    database = Database(settings.effective_database_url)
    ensure_schema(database, lock_file=settings.data_dir / "migrate.lock")
    vault = Vault.from_settings(settings.secret_key, settings.data_dir)
    with database.writing() as session:
        identity = ensure_identity(session)
    redis = connect(settings.effective_redis_url)
    return Runtime(
        settings=settings,
        database=database,
        vault=vault,
        identity=identity,
        queue=WorkQueue(redis, identity),
        bus=Bus(redis, identity),
    )
