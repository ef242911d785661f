"""Whether anything that the pages show has changed, looked at once for all pages that are open."""

from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col

from jobs.database import Database
from jobs.models import App, AuditEvent, CommitStatus, Delivery, Deployment, Step
from jobs.queries import OPEN_STATES
from receiver.lookout import Lookout

LOOK_S = 0.5


class Changes(Lookout):
    """The whole Keystone, seen from so far away that only changes are visible."""

    def __init__(self, database: Database) -> None:
        super().__init__(every_s=LOOK_S)
        self._database = database
        self._seen: list[Any] = []

    def look(self) -> bool:
        """Look once; gives whether anything differs from the last time.

        Raises:
            StorageError: the database does not answer.
        """
        with self._database.reading() as session:
            seen = _fingerprint(session)
        is_new, self._seen = seen != self._seen, seen
        return is_new


def _fingerprint(session: Session) -> list[Any]:
    """Give, by a few small queries, what differs whenever one of the pages would.

    Every change that somebody makes leaves an audit event; what Keystone does by itself shows in
    the open deployments, their steps, the containers, and the statuses that wait.
    """
    is_open = col(Deployment.state).in_(OPEN_STATES)
    statements = (
        sqlalchemy.select(func.max(Deployment.id)),
        sqlalchemy.select(func.max(Delivery.id)),
        sqlalchemy.select(func.max(AuditEvent.id)),
        sqlalchemy.select(func.max(CommitStatus.id)),
        sqlalchemy.select(
            col(Deployment.id),
            col(Deployment.state),
            col(Deployment.commit_sha),
            col(Deployment.cancelled_by),
        )
        .where(is_open)
        .order_by(col(Deployment.id)),
        sqlalchemy.select(func.count(), func.count(col(Step.ended_at)))
        .join(Deployment, col(Deployment.id) == col(Step.deployment_id))
        .where(is_open),
        sqlalchemy.select(
            col(App.container_state),
            col(App.auto_deploy),
            func.count(),
            func.sum(App.live_deployment_id),
            func.sum(App.configuration),
        )
        .group_by(col(App.container_state), col(App.auto_deploy))
        .order_by(col(App.container_state), col(App.auto_deploy)),
    )
    found = session.connection().execute
    return [tuple(tuple(row) for row in found(statement)) for statement in statements]
