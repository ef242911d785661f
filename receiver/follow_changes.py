"""Detects changes of anything that pages show, with one poll for all open pages."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import func, or_
from sqlmodel import Session, col

from dashboard.labels import space
from dashboard.page_reads import AnySelect
from jobs.reads.waiting import is_silent
from jobs.rules.token_trouble import WARN_BEFORE
from jobs.states import OPEN_STATES
from jobs.storage.database import Database
from jobs.storage.models import (
    App,
    AuditEvent,
    CatchUp,
    CommitStatus,
    Delivery,
    Deployment,
    RefusedDelivery,
    Repository,
    Step,
    Vitals,
    now,
)
from receiver.polling import Lookout

LOOK_S = 0.5
# Some things change just because time passes: a certificate nears its end, a search becomes late.
# So a change is reported at least this often; pages then load again and redraw only differences.
LONGEST_REST_S = 60
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Changes(Lookout):
    """Polls a fingerprint of everything that pages show, which tells only that it has changed."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(every_s=LOOK_S)
        self._database, self._clock = database, clock
        self._seen: list[Any] = []
        self._told_at = clock()

    def look(self) -> bool:
        """Poll once; give whether anything changed, or no change was reported for a minute.

        Raises:
            StorageError: the database does not answer.
        """
        with self._database.reading() as session:
            seen = _fingerprint(session)
        is_news = seen != self._seen or self._clock() - self._told_at >= LONGEST_REST_S
        self._seen = seen
        if is_news:
            self._told_at = self._clock()
        return is_news


def _fingerprint(session: Session) -> list[Any]:
    """Give, by a few small queries, a value that differs whenever the content of a page differs.

    Every change that a person or a program makes leaves an audit event. Keystone's own changes do
    not: they are visible in the open deployments and their steps, the containers, the waiting
    statuses, the watcher's notes, the tokens, and the search for missed pushes.
    """
    found = session.connection().execute
    asked = (*_newest(), *_going_on(), _apps(), _waiting_statuses(), _tokens(), _searches())
    rows = [tuple(tuple(row) for row in found(statement)) for statement in asked]
    return [*rows, _vitals(session.get(Vitals, 1))]


def _newest() -> Iterator[AnySelect]:
    for table in (Deployment, Delivery, AuditEvent, CommitStatus):
        yield sqlalchemy.select(func.max(table.id))
    # Leave out the counts of refusals: strangers could make all pages reload every few seconds.
    yield sqlalchemy.select(func.max(RefusedDelivery.first_at), func.count()).where(
        col(RefusedDelivery.repository_id).is_not(None)
    )


def _going_on() -> Iterator[AnySelect]:
    is_open = col(Deployment.state).in_(OPEN_STATES)
    yield (
        sqlalchemy.select(
            col(Deployment.id),
            col(Deployment.state),
            col(Deployment.commit_sha),
            col(Deployment.cancelled_by),
        )
        .where(is_open)
        .order_by(col(Deployment.id))
    )
    yield (
        sqlalchemy.select(func.count(), func.count(col(Step.ended_at)))
        .join(Deployment, col(Deployment.id) == col(Step.deployment_id))
        .where(is_open)
    )


def _apps() -> AnySelect:
    alike = (
        col(App.container_state),
        col(App.container_reason),
        col(App.container_restarts),
        col(App.auto_deploy),
    )
    sums = (App.id, App.live_deployment_id, App.configuration)
    return (
        sqlalchemy.select(*alike, func.count(), *(func.sum(column) for column in sums))
        .group_by(*alike)
        .order_by(*alike)
    )


def _waiting_statuses() -> AnySelect:
    """Select the statuses that GitHub has not accepted yet; a settled status is no longer one.

    This compares times because `IS NOT NULL` would not use the index, and the table only grows.
    """
    columns = (func.count(), func.sum(CommitStatus.id), func.sum(CommitStatus.attempts))
    return sqlalchemy.select(*columns).where(col(CommitStatus.next_attempt_at) > LONG_AGO)


def _tokens() -> AnySelect:
    ends_soon = col(Repository.token_expires_at) < now() + WARN_BEFORE
    return (
        sqlalchemy.select(
            col(Repository.id), col(Repository.token_problem), col(Repository.token_expires_at)
        )
        .where(or_(col(Repository.token_problem).is_not(None), ends_soon))
        .order_by(col(Repository.id))
    )


def _searches() -> AnySelect:
    # Leave out the times: with hundreds of repositories, one of them is searched every second.
    alike = (col(CatchUp.way), col(CatchUp.missed), col(CatchUp.found), col(CatchUp.problem))
    return sqlalchemy.select(*alike, func.count()).group_by(*alike).order_by(*alike)


def _vitals(row: Vitals | None) -> tuple[Any, ...]:
    """Give the watcher's notes rounded as pages show them, since free bytes change all the time."""
    if row is None:
        return ()
    engines = None if row.engine_free is None else space(row.engine_free)
    disks = (space(row.disk_free), space(row.disk_total), engines)
    return (is_silent(row, now()), row.workers, row.problems, *disks)
