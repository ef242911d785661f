"""The database as `keystone doctor` reads it: whatever state it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from jobs.errors import KeystoneError
from jobs.records.identity import known_identity
from jobs.settings import Settings
from jobs.storage.database import ReadOnlyDatabase


def identity_of(settings: Settings) -> str:
    """Give the name on what is ours; nothing is, before the first start."""
    try:
        with reading(settings) as session:
            return known_identity(session)
    except (KeystoneError, SQLAlchemyError):
        return ""


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """Read the database, and leave no trace of it."""
    database = ReadOnlyDatabase(settings.effective_database_url)
    try:
        with database.reading() as session:
            yield session
    finally:
        database.close()
