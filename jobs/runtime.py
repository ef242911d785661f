"""What every process of one Keystone holds: settings, database, vault, lines to the others."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from jobs.bus import WAKE_TIMEOUT_S, Bus, connect
from jobs.database import Database
from jobs.errors import StorageError
from jobs.migrations.apply import ensure_schema
from jobs.queue import WorkQueue
from jobs.records.identity import ensure_identity
from jobs.records.vault_keys import ensure_key_is_kept, ensure_keys
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
        ConfigurationError: the secret key will not do, or opens not all that is sealed.
        StorageError: the data directory or the database cannot be used, or is newer than the code.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"{settings.data_dir} cannot be made: {exc.strerror}") from exc
    database = Database(settings.effective_database_url)
    ensure_schema(database, lock_file=settings.data_dir / "migrate.lock")
    with database.writing() as session:
        ensure_key_is_kept(session, settings)
        vault = Vault.from_settings(settings.secret_key, settings.data_dir)
        ensure_keys(session, vault, settings)
        identity = ensure_identity(session)
    url = settings.effective_redis_url
    return Runtime(
        settings=settings,
        database=database,
        vault=vault,
        identity=identity,
        queue=WorkQueue(connect(url, timeout_s=WAKE_TIMEOUT_S), identity),
        bus=Bus(connect(url), identity),
    )
