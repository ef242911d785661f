"""Sealing and opening stored secrets with a ring of keys, the newest first.

The ring comes from KEYSTONE_SECRET_KEY or, without that, from a file in the data directory, which
`keystone rotate-key` replaces while everything runs. So a vault that has its ring from the file
looks at it again before it seals, and whenever it meets something that its keys do not open: from
the moment the file is replaced nothing new is sealed with an old key, and whatever was sealed with
the new one can be opened by everybody.
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
KEY_MODE = 0o640  # where the parts of Keystone that need it are users in its group
# Short enough that it is no help in guessing a key, long enough to tell a dozen of them apart.
FINGERPRINT_LENGTH = 8


@dataclass(frozen=True)
class _Ring:
    """The keys at one moment, and which state of the file they were read from."""

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
        """Open the vault with the given keys, or with those kept in the data directory.

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
        """Open the vault as `from_settings`, where no key may be made.

        Without any key nothing is sealed yet, and there is nothing to open; nobody keeps what is
        sealed with the key that stands in.

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
        """Whether the keys are in the file of the data directory, where we may change them."""
        return self._file is not None

    @property
    def fingerprints(self) -> list[str]:
        """What the keys are called, the newest first; a key itself is never shown."""
        return list(self._latest().fernets)

    def seal(self, plain: SecretStr) -> bytes:
        """Encrypt a secret with the newest key."""
        return self._latest().multi.encrypt(plain.get_secret_value().encode())

    def open(self, sealed: bytes) -> SecretStr:
        """Decrypt what any key of the ring has sealed.

        Raises:
            ConfigurationError: none of the keys fits.
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
        """Give the fingerprint of the key that something is sealed with; None: it is not ours."""
        for ring in (self._ring, self._latest()):
            for name, fernet in ring.fernets.items():
                if _opens(fernet, sealed):
                    return name
        return None

    def reseal(self, sealed: bytes) -> bytes:
        """Seal the same with the newest key.

        Raises:
            ConfigurationError: none of the keys opens it.
        """
        return self.seal(self.open(sealed))

    def _latest(self) -> _Ring:
        """Give the ring as it is in the file now; as it was, when the file cannot be read."""
        if self._file is not None and (stamp := _stamp(self._file)) != self._ring.stamp:
            try:
                self._ring = _ring(read_keys(self._file), stamp)
            except (ConfigurationError, StorageError):
                # Whoever runs must not stop because somebody is at the file.
                return self._ring
        return self._ring


def fingerprint(key: SecretStr) -> str:
    """Give the name by which a key may be spoken of."""
    told = b"keystone fingerprint\0" + key.get_secret_value().encode()
    return hashlib.sha256(told).hexdigest()[:FINGERPRINT_LENGTH]


def make_key() -> SecretStr:
    """Make a new key."""
    return SecretStr(secrets.token_urlsafe(32))


def ensure_key(data_dir: Path) -> SecretStr:
    """Give the key (or the ring) kept in the data directory, made when there is none yet.

    Raises:
        StorageError: the file cannot be read or written.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Written aside and linked: two processes that start at once end up with one key.
            draft = _draft(path, make_key().get_secret_value())
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return SecretStr(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} cannot be used ({type(exc).__name__})") from exc


def present_keys(secret_key: SecretStr, data_dir: Path) -> list[SecretStr]:
    """Give the keys of the setting or else those kept in the data directory; none is made.

    Raises:
        StorageError: their file cannot be read.
    """
    path = data_dir / KEY_FILE
    return split_keys(secret_key) or (read_keys(path) if path.exists() else [])


def read_keys(path: Path) -> list[SecretStr]:
    """Read the keys of a file, the newest first.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return split_keys(SecretStr(path.read_text()))
    except (OSError, UnicodeDecodeError) as exc:
        raise StorageError(f"{path} cannot be read ({type(exc).__name__})") from exc


def write_keys(path: Path, keys: Sequence[SecretStr]) -> None:
    """Replace the keys of a file in one stroke; when this returns they have reached the disk.

    Raises:
        StorageError: they could not be written; the file is as it was.
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
    """Write a file beside the one it will become; who of us could read that one can read it."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    users = family()
    if users and path.exists() and path.stat().st_gid in users.gids:
        os.chown(draft, -1, path.stat().st_gid)
        draft.chmod(KEY_MODE)
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        # Rows that are sealed with a key must not outlive it in a power cut.
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
