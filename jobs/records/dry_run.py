"""Tries a change on an in-memory copy of the database: errors appear, but nothing is written."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import StaticPool, create_engine, insert, select
from sqlmodel import Session, SQLModel

from jobs.storage.models import (
    AuditEvent,
    CommitStatus,
    Delivery,
    Deployment,
    LoginSession,
    Release,
    Step,
)

# Tables that grow without bound, and that no change of the configuration reads.
HISTORY: tuple[type[SQLModel], ...] = (
    AuditEvent,
    CommitStatus,
    Delivery,
    Deployment,
    LoginSession,
    Release,
    Step,
)


@contextmanager
def trial(session: Session) -> Iterator[Session]:
    """Open a temporary copy of the configuration, which can be changed like the database.

    The history tables in it are empty.
    """
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        SQLModel.metadata.create_all(engine)
        with Session(engine, expire_on_commit=False) as copy:
            _fill(copy, session)
            yield copy
    finally:
        engine.dispose()


def _fill(copy: Session, session: Session) -> None:
    left_out = {SQLModel.metadata.tables[str(table.__tablename__)] for table in HISTORY}
    for table in SQLModel.metadata.sorted_tables:
        if table not in left_out and (rows := session.execute(select(table)).mappings().all()):
            copy.execute(insert(table), [dict(row) for row in rows])
