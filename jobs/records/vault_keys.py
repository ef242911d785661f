"""Which keys of the vault rows are sealed with, and that all of them are here.

The names of the keys in use stand in a table of their own, so that a start need not open every
row. Only when a key of that table is missing are the rows looked at: what nothing is sealed with
may be gone.
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
    """List every column of sealed values: nothing else is kept as bytes."""
    return [
        column
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    ]


def count_by_key(session: Session, vault: Vault) -> Counter[str | None]:
    """Count the sealed values by the fingerprint of their key; None: no key here opens them."""
    return Counter(vault.holder(sealed) for sealed in _sealed(session))


def _sealed(session: Session) -> Iterator[bytes]:
    for column in sealed_columns():
        found = session.execute(select(column).execution_options(yield_per=ROWS_AT_ONCE))
        yield from (sealed for sealed in found.scalars() if sealed)


def ensure_key_is_kept(session: Session, settings: Settings) -> None:
    """Make sure that no new key is made where an old one has been lost.

    Raises:
        ConfigurationError: something is sealed, and there is neither a setting nor a file.
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
    """Make sure that every key is here that rows are sealed with, and write down the newest.

    Raises:
        ConfigurationError: one is missing; it says which, and how to give it back.
    """
    used, unused = look_at_keys(session, vault, settings)
    forget_keys(session, unused)
    for name in used:
        remember_key(session, name)


def look_at_keys(session: Session, vault: Vault, settings: Settings) -> tuple[set[str], set[str]]:
    """Make sure that every key is here that rows are sealed with.

    Returns:
        The fingerprints of the keys to be known by name, and of those that nothing needs any more.

    Raises:
        ConfigurationError: one is missing; it says which, and how to give it back.
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
    """Have every start ask for a key from now on."""
    if session.get(VaultKey, name) is None:
        session.add(VaultKey(fingerprint=name))


def forget_keys(session: Session, names: Iterable[str]) -> None:
    """Let Keystone start without these keys."""
    for name in names:
        if (row := session.get(VaultKey, name)) is not None:
            session.delete(row)


def complaint(session: Session, count: int, vault: Vault, settings: Settings) -> str:
    """Say which key is missing that so many values are sealed with, and how to give it back."""
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
    """Replace the values that are unchanged since they were read; give their number."""
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
