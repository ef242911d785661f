"""Encrypts ("seals") and decrypts stored secrets with a ring of keys, the newest first.

The ring comes from KEYSTONE_SECRET_KEY or, if that is not set, from a file in the data directory,
which `keystone rotate-key` replaces while all processes run. So a vault with a ring from the file
checks the file again before it seals, and whenever none of its keys opens a value. From the moment
the file is replaced, no process seals with an old key, and every process can open what was sealed
with the new one.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from jobs.errors import ConfigurationError, Mistake, StorageError
from jobs.settings import SHORTEST_KEY, split_keys
from jobs.system.part_users import family

KEY_FILE = "secret.key"
KEY_MODE = 0o640  # if the parts of Keystone that need the file are users in its group
# Too short to help in guessing a key, but long enough to tell a dozen keys apart.
FINGERPRINT_LENGTH = 8


@dataclass(frozen=True)
class _Ring:
    """The keys at one moment, and the state of the file that they were read from."""

    fernets: dict[str, Fernet]  # by fingerprint, the newest first
    stamp: tuple[int, ...] = ()

    @property
    def multi(self) -> MultiFernet:
        return MultiFernet(list(self.fernets.values()))


class Vault:
    """Seals text into bytes for the database, and opens them again. Any thread may use it."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._ring = _ring(keys)
        self._file: Path | None = None

    @classmethod
    def from_settings(cls, secret_key: SecretStr, data_dir: Path) -> "Vault":
        """Open the vault with the given keys, or with those of the file in the data directory.

        Raises:
            ConfigurationError: a key is too short.
            StorageError: the file cannot be read.
        """
        if given := split_keys(secret_key):
            return cls(given)
        vault = cls(split_keys(ensure_key(data_dir)))
        vault._file = data_dir / KEY_FILE
        return vault

    @classmethod
    def for_reading(cls, secret_key: SecretStr, data_dir: Path) -> "Vault":
        """Open the vault like `from_settings`, but without making a key.

        If there is no key yet, nothing has been sealed, so there is nothing to open. The vault then
        uses a temporary key, and values sealed with that are never stored.

        Raises:
            ConfigurationError: a key is too short.
            StorageError: the file cannot be read.
        """
        keys = present_keys(secret_key, data_dir)
        vault = cls(keys or [make_key()])
        if keys and not split_keys(secret_key):
            vault._file = data_dir / KEY_FILE
        return vault

    @property
    def is_kept(self) -> bool:
        """Whether the keys are in the data directory's file, so that Keystone can rotate them."""
        return self._file is not None

    @property
    def fingerprints(self) -> list[str]:
        """The fingerprints of the keys, the newest first; a key itself is never shown."""
        return list(self._latest().fernets)

    def seal(self, plain: SecretStr) -> bytes:
        """Encrypt a secret with the newest key."""
        return self._latest().multi.encrypt(plain.get_secret_value().encode())

    def open(self, sealed: bytes) -> SecretStr:
        """Decrypt a value that any key of the ring has sealed.

        Raises:
            ConfigurationError: none of the keys opens it.
        """
        for ring in (self._ring, self._latest()):
            try:
                return SecretStr(ring.multi.decrypt(sealed).decode())
            except InvalidToken:
                continue
        told = (
            "a stored secret was sealed with another key; "
            "give back the old key, after the new one and a comma"
        )
        where = str(self._file or "KEYSTONE_SECRET_KEY")
        raise ConfigurationError(Mistake("", told, called=where))

    def holder(self, sealed: bytes) -> str | None:
        """Give the fingerprint of the key that sealed a value; None if it is not in the ring."""
        for ring in (self._ring, self._latest()):
            for name, fernet in ring.fernets.items():
                if _opens(fernet, sealed):
                    return name
        return None

    def reseal(self, sealed: bytes) -> bytes:
        """Seal the same secret again with the newest key.

        Raises:
            ConfigurationError: none of the keys opens it.
        """
        return self.seal(self.open(sealed))

    def _latest(self) -> _Ring:
        """Give the ring, read again if the file changed; the old ring if the file is unreadable."""
        if self._file is not None and (stamp := _stamp(self._file)) != self._ring.stamp:
            try:
                self._ring = _ring(read_keys(self._file), stamp)
            except (ConfigurationError, StorageError):
                # A running process must not fail because somebody is editing the file.
                return self._ring
        return self._ring


def fingerprint(key: SecretStr) -> str:
    """Give a key's fingerprint: a name for it that may be shown."""
    told = b"keystone fingerprint\0" + key.get_secret_value().encode()
    return hashlib.sha256(told).hexdigest()[:FINGERPRINT_LENGTH]


def make_key() -> SecretStr:
    """Make a new key."""
    return SecretStr(secrets.token_urlsafe(32))


def ensure_key(data_dir: Path) -> SecretStr:
    """Give the key or ring of the file in the data directory; make a key if there is no file.

    Raises:
        StorageError: the file cannot be read or written.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Write a draft and hard-link it, so that two processes starting at once share one key.
            draft = _draft(path, make_key().get_secret_value())
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return SecretStr(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} cannot be used ({type(exc).__name__})") from exc


def present_keys(secret_key: SecretStr, data_dir: Path) -> list[SecretStr]:
    """Give the keys of the setting, or else of the file in the data directory; make none.

    Raises:
        StorageError: the file cannot be read.
    """
    path = data_dir / KEY_FILE
    return split_keys(secret_key) or (read_keys(path) if path.exists() else [])


def read_keys(path: Path) -> list[SecretStr]:
    """Read the keys of a file, the newest first.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        return split_keys(SecretStr(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} cannot be read ({type(exc).__name__})") from exc


def write_keys(path: Path, keys: Sequence[SecretStr]) -> None:
    """Replace the keys of a file atomically; on return they are on the disk.

    Raises:
        StorageError: the keys could not be written; the file is unchanged.
    """
    try:
        draft = _draft(path, ",".join(key.get_secret_value() for key in keys))
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise StorageError(f"{path} cannot be written ({exc.strerror})") from exc


def _draft(path: Path, text: str) -> Path:
    """Write a draft beside the file that it will replace, readable by the same users of ours."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    users = family()
    if users and path.exists() and path.stat().st_gid in users.gids:
        os.chown(draft, -1, path.stat().st_gid)
        draft.chmod(KEY_MODE)
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # After a power cut, no row may be sealed with a key that did not reach the disk.
        os.fsync(file.fileno())
    return draft


def _ring(keys: Sequence[SecretStr], stamp: tuple[int, ...] = ()) -> _Ring:
    if not keys or any(len(key.get_secret_value()) < SHORTEST_KEY for key in keys):
        told = f"each key needs at least {SHORTEST_KEY} characters"
        raise ConfigurationError(Mistake("KEYSTONE_SECRET_KEY", told))
    return _Ring({fingerprint(key): _fernet(key) for key in keys}, stamp)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _opens(fernet: Fernet, sealed: bytes) -> bool:
    try:
        fernet.decrypt(sealed)
    except InvalidToken:
        return False
    return True


def _fernet(key: SecretStr) -> Fernet:
    digest = hashlib.sha256(b"keystone vault\0" + key.get_secret_value().encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
