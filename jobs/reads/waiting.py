"""SELECTs about what queued deployments wait for, and at which place of their lane.

The order of the lanes themselves is in Redis, which a page must not wait for. The order here is
that of the wake-ups: an app is woken when its first deployment is queued, or when the one that ran
before has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from jobs.rules.waiting import Busy, for_a_worker
from jobs.states import PUSHES, DeploymentState, Lane, Trigger
from jobs.storage.models import App, Deployment, Lease, Vitals, now

# The watcher writes every 10 s; if it has missed three writes or more, it counts as silent.
SILENT_AFTER = timedelta(seconds=45)


@dataclass(frozen=True)
class Waiting:
    """What a queued deployment waits for.

    Attributes:
        place: its place in its lane, from 1; None while another deployment of its app is before it.
    """

    words: str
    place: int | None = None


@dataclass(frozen=True)
class _Head:
    """The first queued deployment of an app that no worker is busy with."""

    deployment: Deployment
    ready_at: datetime

    @property
    def lane(self) -> Lane:
        return self.deployment.trigger.lane


def is_silent(vitals: Vitals, at: datetime) -> bool:
    """Whether the watcher's notes are too old to be trusted."""
    return at - vitals.at > SILENT_AFTER


def waits(session: Session, rows: Sequence[Deployment]) -> dict[int, Waiting]:
    """Say of each queued deployment among the given ones what it waits for, by its id."""
    queued = [row for row in rows if row.state is DeploymentState.QUEUED]
    if not queued:
        return {}
    held, heads = _held(session), _heads(session)
    vitals = session.get(Vitals, 1)
    known = vitals if vitals is not None and not is_silent(vitals, now()) else None
    places = _places([head for app_id, head in heads.items() if app_id not in held])

    def waiting(row: Deployment) -> Waiting:
        if (busy := held.get(row.app_id)) is not None:
            return Waiting(busy.words)
        head = heads.get(row.app_id)
        if head is None:  # it was taken between two statements
            return Waiting("")
        if not _goes_with(row, head.deployment):
            return Waiting(f"deployment #{head.deployment.number} of this app comes first")
        place = places[row.app_id]
        words = for_a_worker(
            head.lane,
            before=place - 1,
            workers=known.workers if known else None,
            busy=list(held.values()),
            has_redis=known is None or "redis" not in known.problems,
        )
        return Waiting(words, place)

    return {row.id or 0: waiting(row) for row in queued}


@dataclass(frozen=True)
class Next:
    """A queued deployment, and what it waits for."""

    id: int
    app: str
    number: int
    words: str


def next_up(session: Session, *, limit: int) -> list[Next]:
    """Give the deployments that are queued for the longest time."""
    statement = (
        select(Deployment, App.name)
        .join(App, col(App.id) == col(Deployment.app_id))
        .where(Deployment.state == DeploymentState.QUEUED)
        .order_by(col(Deployment.id))
        .limit(limit)
    )
    found = session.exec(statement).all()
    told = waits(session, [row for row, _ in found])
    return [Next(row.id or 0, name, row.number, told[row.id or 0].words) for row, name in found]


def _goes_with(row: Deployment, head: Deployment) -> bool:
    """Whether one wake-up is for both: of a branch's pushes, only the newest is deployed."""
    return row.id == head.id or (
        row.ref == head.ref and row.trigger in PUSHES and head.trigger in PUSHES
    )


def _held(session: Session) -> dict[int, Busy]:
    """Give what the workers are busy with, by app."""
    statement = (
        select(Deployment, App.name)
        .join(Lease, col(Lease.deployment_id) == col(Deployment.id))
        .join(App, col(App.id) == col(Deployment.app_id))
        .order_by(App.name)
    )
    return {
        row.app_id: Busy(name, row.number, row.trigger.lane, row.state.is_over)
        for row, name in session.exec(statement).all()
    }


def _heads(session: Session) -> dict[int, _Head]:
    """Give the first queued deployment of each app, by app; a recovery precedes all others."""
    recovery = case((col(Deployment.trigger) == Trigger.RECOVERY, col(Deployment.id)))
    first = func.coalesce(func.min(recovery), func.min(Deployment.id))
    firsts = (
        select(first)
        .where(Deployment.state == DeploymentState.QUEUED)
        .group_by(col(Deployment.app_id))
    )
    earlier = aliased(Deployment)
    last_end = (
        select(earlier.ended_at)
        .where(
            col(earlier.app_id) == col(Deployment.app_id),
            col(earlier.started_at).is_not(None),
            col(earlier.ended_at).is_not(None),
        )
        .order_by(col(earlier.id).desc())
        .limit(1)
        .correlate(Deployment)
        .scalar_subquery()
    )
    rows = session.exec(select(Deployment, last_end).where(col(Deployment.id).in_(firsts))).all()
    return {
        row.app_id: _Head(row, max(row.queued_at, ended_at or row.queued_at))
        for row, ended_at in rows
    }


def _places(heads: Sequence[_Head]) -> dict[int, int]:
    """Number the apps of each lane in the order of their wake-ups."""
    in_order = sorted(heads, key=lambda head: (head.ready_at, head.deployment.id or 0))
    return {
        head.deployment.app_id: place
        for lane in Lane
        for place, head in enumerate((head for head in in_order if head.lane is lane), 1)
    }
