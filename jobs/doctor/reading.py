"""Read-only access to the database for `keystone doctor`, whatever state it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from jobs.errors import KeystoneError
from jobs.records.identity import known_identity
from jobs.settings import Settings
from jobs.storage.database import ReadOnlyDatabase


def identity_of(settings: Settings) -> str:
    """Return this Keystone's identity; "" before its first start or when it cannot be read."""
    try:
        with reading(settings) as session:
            return known_identity(session)
    except (KeystoneError, SQLAlchemyError):
        return ""


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Open a read-only session that changes no file."""
    database = ReadOnlyDatabase(settings.effective_database_url)
    try:
        with database.reading() as session:
            yield session
    finally:
        database.close()
