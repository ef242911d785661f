"""Sealing and opening stored secrets with a ring of keys, the newest first."""

import base64
import hashlib
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from jobs.errors import ConfigurationError

KEY_FILE = "secret.key"
SHORTEST_KEY = 16


class Vault:
    """Seals text into bytes for the database, and opens them again."""

    def __init__(self, keys: list[SecretStr]) -> None:
        if not keys or any(len(key.get_secret_value()) < SHORTEST_KEY for key in keys):
            raise ConfigurationError(
                f"KEYSTONE_SECRET_KEY: each key needs at least {SHORTEST_KEY} characters"
            )
        self._ring = MultiFernet([_fernet(key) for key in keys])

    @classmethod
    def from_settings(cls, secret_key: SecretStr, data_dir: Path) -> "Vault":
        """Open the vault with the given keys, or with the key kept in the data directory."""
        given = [part.strip() for part in secret_key.get_secret_value().split(",") if part.strip()]
        return cls([SecretStr(key) for key in given] or [ensure_key(data_dir)])

    def seal(self, plain: SecretStr) -> bytes:
        """Encrypt a secret with the newest key."""
        return self._ring.encrypt(plain.get_secret_value().encode())

    def open(self, sealed: bytes) -> SecretStr:
        """Decrypt what any key of the ring has sealed.

        Raises:
            ConfigurationError: none of the keys fits.
        """
        try:
            return SecretStr(self._ring.decrypt(sealed).decode())
        except InvalidToken:
            raise ConfigurationError(
                "KEYSTONE_SECRET_KEY: a stored secret was sealed with another key; "
                "give back the old key, after the new one and a comma"
            ) from None


def ensure_key(data_dir: Path) -> SecretStr:
    """Give the key kept in the data directory, making it when there is none yet."""
    path = data_dir / KEY_FILE
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written aside and linked: two processes that start at once end up with one key.
        draft = data_dir / f".{KEY_FILE}.{secrets.token_hex(8)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32))
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return SecretStr(path.read_text().strip())


def _fernet(key: SecretStr) -> Fernet:
    digest = hashlib.sha256(b"keystone vault\0" + key.get_secret_value().encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
