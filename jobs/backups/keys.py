"""A Keystone's keys: finds them for a backup, and chooses and verifies them for a restore."""

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
    """The keys that decrypt a Keystone's secrets, and their origin.

    Attributes:
        origin: where the keys come from, for messages.
        is_kept: whether the restore must write them to the data directory; if not, they are there
            already, or come from a setting.
    """

    keys: Sequence[SecretStr]
    origin: str
    is_kept: bool = False

    def __or__(self, later: "Ring") -> "Ring":
        """Combine both rings' keys, for keys that were changed while the database was copied."""
        added = [key for key in self.keys if key not in later.keys]
        return Ring([*later.keys, *added], later.origin)

    @property
    def text(self) -> SecretStr:
        """The keys in the format of a key file."""
        return SecretStr(",".join(key.get_secret_value() for key in self.keys))


def present_ring(settings: Settings) -> Ring:
    """Return the keys that a Keystone with these settings uses.

    Raises:
        NotFoundError: there are no keys.
        StorageError: the key file cannot be read.
    """
    if given := split_keys(settings.secret_key):
        return Ring(given, "KEYSTONE_SECRET_KEY")
    path = settings.data_dir / KEY_FILE
    return Ring(_read(path), str(path))


def ring_for_restore(settings: Settings, brought: Path) -> Ring:
    """Choose the restored Keystone's keys: from the setting, else the backup, else those here.

    Args:
        brought: the path of the backup's own key file, which may not exist.

    Raises:
        NotFoundError: there are no keys.
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
    """Check that the keys decrypt every secret of a database.

    Raises:
        ConfigurationError: a secret cannot be decrypted.
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
