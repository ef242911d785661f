"""Checks that every vault key with which rows are sealed is present.

The fingerprints of the keys in use are stored in a table, so that a start need not open every row.
The rows are checked only if a key of that table is missing: a key that sealed no row may be gone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Column, LargeBinary, func, update
from sqlmodel import Session, SQLModel, select

from jobs.errors import ConfigurationError
from jobs.settings import Settings, split_keys
from jobs.storage.database import Database
from jobs.storage.models import VaultKey
from jobs.storage.vault import KEY_FILE, Vault, fingerprint, read_keys

SETTING = "KEYSTONE_SECRET_KEY"
ROWS_AT_ONCE = 500


def sealed_columns() -> list[Column[bytes]]:
    """List every column of sealed values, which are the only columns of bytes."""
    return [
        column
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    ]


def count_by_key(session: Session, vault: Vault) -> Counter[str | None]:
    """Count the sealed values by their key's fingerprint; None: no key of the ring opens them."""
    return Counter(vault.holder(sealed) for sealed in _sealed(session))


def _sealed(session: Session) -> Iterator[bytes]:
    for column in sealed_columns():
        found = session.execute(select(column).execution_options(yield_per=ROWS_AT_ONCE))
        yield from (sealed for sealed in found.scalars() if sealed)


def ensure_key_is_kept(session: Session, settings: Settings) -> None:
    """Make sure that no new key is made when the old one has been lost.

    Raises:
        ConfigurationError: values are sealed, but there is neither the setting nor the file.
    """
    path = settings.data_dir / KEY_FILE
    if split_keys(settings.secret_key) or path.exists():
        return
    count = sum(session.execute(_count(column)).scalar_one() for column in sealed_columns())
    if count:
        raise ConfigurationError(
            f"{path} is gone, and {count} stored secrets are sealed with the key in it: "
            f"{_where_from(session)}"
        )


def ensure_keys(session: Session, vault: Vault, settings: Settings) -> None:
    """Check that every key with which rows are sealed is present, and record the keys in use.

    Raises:
        ConfigurationError: a key is missing; the message says which, and how to restore it.
    """
    used, unused = look_at_keys(session, vault, settings)
    forget_keys(session, unused)
    for name in used:
        remember_key(session, name)


def look_at_keys(session: Session, vault: Vault, settings: Settings) -> tuple[set[str], set[str]]:
    """Check that every key with which rows are sealed is present.

    Returns:
        The fingerprints of the keys to record, and of those that are not needed any more.

    Raises:
        ConfigurationError: a key is missing; the message says which, and how to restore it.
    """
    ring = vault.fingerprints
    known = set(session.exec(select(VaultKey.fingerprint)).all())
    missing = known.difference(ring)
    used = {ring[0]}
    if missing or not known:
        counts = count_by_key(session, vault)
        if counts[None]:
            raise ConfigurationError(complaint(session, counts[None], vault, settings))
        used |= {name for name in counts if name is not None}
    return used, missing


def remember_key(session: Session, name: str) -> None:
    """Record a key, so that every start requires it."""
    if session.get(VaultKey, name) is None:
        session.add(VaultKey(fingerprint=name))


def forget_keys(session: Session, names: Iterable[str]) -> None:
    """Remove the records of keys, so that Keystone starts without them."""
    for name in names:
        if (row := session.get(VaultKey, name)) is not None:
            session.delete(row)


def complaint(session: Session, count: int, vault: Vault, settings: Settings) -> str:
    """Say which key is missing, with the number of values it sealed, and how to restore it."""
    path = settings.data_dir / KEY_FILE
    missing = set(session.exec(select(VaultKey.fingerprint)).all()).difference(vault.fingerprints)
    names = " or ".join(sorted(missing)) or "that is not known by name"
    told = f"{count} stored secrets are sealed with another key ({names}) than those of"
    if vault.is_kept:
        return f"{told} {path}: restore that file, from the backup that holds this database"
    if missing & _kept(path):
        return (
            f"{told} {SETTING}: it is the one in {path}; add it, after the present one and a comma"
        )
    return f"{told} {SETTING}: add that key to the setting, after the present one and a comma"


def _kept(path: Path) -> set[str]:
    return {fingerprint(key) for key in read_keys(path)} if path.exists() else set()


def _where_from(session: Session) -> str:
    names = " or ".join(sorted(session.exec(select(VaultKey.fingerprint)).all()))
    called = f" ({names})" if names else ""
    return f"restore the file{called} from a backup, or set {SETTING} to that key"


def _count(column: Column[bytes]) -> Any:  # noqa: ANN401 — a statement
    return select(func.count()).select_from(column.table).where(func.length(column) > 0)


def replace_sealed(
    database: Database, column: Column[bytes], changes: list[tuple[int, bytes, bytes]]
) -> int:
    """Replace the values that have not changed since they were read; return their number."""
    done = 0
    with database.writing() as session:
        for number, before, after in changes:
            statement = (
                update(column.table)
                .where(column.table.c.id == number, column == before)
                .values({column: after})
            )
            done += session.connection().execute(statement).rowcount
    return done
