"""The keys of a Keystone: found for a backup, chosen and tried out for a restore."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlmodel import select

from jobs.errors import ConfigurationError, NotFoundError
from jobs.records.vault_keys import sealed_columns
from jobs.settings import Settings, split_keys
from jobs.storage.database import Database
from jobs.storage.vault import KEY_FILE, Vault, read_keys


@dataclass(frozen=True)
class Ring:
    """The keys that open what a Keystone has sealed, and where they are from.

    Attributes:
        origin: for sentences: what the keys were taken from.
        is_kept: the data directory is to hold them; else it holds them already, or a setting does.
    """

    keys: Sequence[SecretStr]
    origin: str
    is_kept: bool = False

    def __or__(self, later: "Ring") -> "Ring":
        """Give the keys of both: a ring that was replaced while the database was copied."""
        added = [key for key in self.keys if key not in later.keys]
        return Ring([*later.keys, *added], later.origin)

    @property
    def text(self) -> SecretStr:
        """The form in which a key file has them."""
        return SecretStr(",".join(key.get_secret_value() for key in self.keys))


def present_ring(settings: Settings) -> Ring:
    """Give the keys that a Keystone with these settings uses.

    Raises:
        NotFoundError: there are none.
        StorageError: their file cannot be read.
    """
    if given := split_keys(settings.secret_key):
        return Ring(given, "KEYSTONE_SECRET_KEY")
    path = settings.data_dir / KEY_FILE
    return Ring(_read(path), str(path))


def ring_for_restore(settings: Settings, brought: Path) -> Ring:
    """Choose the keys a restored Keystone will use: the setting's, the backup's, those here.

    Args:
        brought: the backup's own key file, if it has one.

    Raises:
        NotFoundError: there are none.
    """
    if split_keys(settings.secret_key) or not brought.exists():
        try:
            return present_ring(settings)
        except NotFoundError:
            raise NotFoundError(
                "this backup was made --without-key; set KEYSTONE_SECRET_KEY to the key of the "
                "Keystone it is of"
            ) from None
    return Ring(_read(brought), "the backup", is_kept=True)


def ensure_opens(database: Database, ring: Ring) -> None:
    """Make sure that the keys open every secret of a database.

    Raises:
        ConfigurationError: they do not.
    """
    vault = Vault(ring.keys)
    try:
        with database.reading() as session:
            for column in sealed_columns():
                for sealed in session.execute(select(column)).scalars():
                    vault.open(sealed)
    except ConfigurationError:
        raise ConfigurationError(
            f"the key from {ring.origin} does not open the secrets in this backup: give the key "
            "of the Keystone it is of (several with commas), or unset KEYSTONE_SECRET_KEY to use "
            "the one in the backup"
        ) from None


def _read(path: Path) -> list[SecretStr]:
    if not path.exists():
        raise NotFoundError(
            f"there is no {path} and KEYSTONE_SECRET_KEY is not set: nothing could open the "
            "secrets; find that key, or say --without-key"
        )
    return read_keys(path)
