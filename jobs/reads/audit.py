"""Pages of the audit trail, newest first, with filters. SELECTs only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, false
from sqlmodel import Session, col, select

from jobs.reads.paging import Walk, unindexed, walk_back
from jobs.reads.views import AuditEventView, Page
from jobs.rules.actors import Actor
from jobs.storage.models import AuditEvent

# Transactions overlap, so an event with a higher id may have an earlier time.
OVERLAP = timedelta(minutes=1)


@dataclass(frozen=True)
class AuditFilter:
    """The filter of a list of audit events; None means any."""

    actor: str | None = None  # "user:ada"
    tag: str | None = None  # a whole tag or a prefix: "login.failed", "deployment"
    target: str | None = None  # "app:web"
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    limit: int = 50
    before: int | None = None  # the id of the last event already seen


def audit_page(session: Session, wanted: AuditFilter) -> Page[AuditEventView]:
    """List audit events, newest first."""
    along, narrow = _equal(wanted) + _ids_between(session, wanted), _between(wanted)
    if wanted.tag and not _is_whole(wanted.tag):
        narrow.append(col(AuditEvent.tag).startswith(wanted.tag, autoescape=True))
    walk = Walk(wanted.limit, wanted.before, along, narrow)
    rows, following = walk_back(session, select(AuditEvent), col(AuditEvent.id), walk)
    views = [AuditEventView.model_validate(row, from_attributes=True) for row in rows]
    return Page(items=views, next=following)


def _equal(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    columns = (
        (AuditEvent.tag, wanted.tag if _is_whole(wanted.tag or "") else None),
        (AuditEvent.target, wanted.target),
    )
    return _by(wanted.actor) + [col(column) == value for column, value in columns if value]


def _by(written: str | None) -> list[ColumnElement[bool]]:
    if not written:
        return []
    if (actor := Actor.read(written)) is None:
        return [false()]
    return [
        col(AuditEvent.actor_kind) == actor.kind,
        col(AuditEvent.actor_name) == actor.name,
    ]


def _is_whole(tag: str) -> bool:
    return "." in tag


def _between(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    # Do not use the index of the times: all matches would have to be sorted before the first row.
    at = unindexed(AuditEvent.at)
    found = []
    if wanted.since is not None:
        found.append(at >= wanted.since)
    if wanted.until is not None:
        found.append(at < wanted.until)
    return found


def _ids_between(session: Session, wanted: AuditFilter) -> list[ColumnElement[bool]]:
    """Bound the ids by the times: the ids of events are nearly in the order of time."""
    found = []
    if wanted.since is not None:
        found.append(col(AuditEvent.id) >= _first_id(session, wanted.since - OVERLAP))
    if wanted.until is not None:
        found.append(col(AuditEvent.id) < _first_id(session, wanted.until + OVERLAP))
    return found


def _first_id(session: Session, moment: datetime) -> int:
    """Give the id of the first event since a moment; if there is none, the highest id plus 1."""
    since = select(AuditEvent.id).where(AuditEvent.at >= moment).order_by(col(AuditEvent.at))
    newest = select(AuditEvent.id).order_by(col(AuditEvent.id).desc())
    found = session.exec(since.limit(1)).first()
    return found or (session.exec(newest.limit(1)).first() or 0) + 1
