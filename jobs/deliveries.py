"""What GitHub sent, newest first, narrowed down, page by page. SELECTs only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from jobs.models import Delivery, Deployment, Repository
from jobs.paging import Walk, walk_back
from jobs.states import DeliveryOutcome
from jobs.views import DeliveryView, Page


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries a list shows; None means any."""

    repository: str | None = None  # "owner/name", in whichever case
    outcome: DeliveryOutcome | None = None
    event: str | None = None
    text: str | None = None  # some part of the ref, sender or reason; how GUID or commit begin
    limit: int = 20
    before: int | None = None  # the id of the last one already seen


def delivery_page(session: Session, wanted: DeliveryFilter) -> Page[DeliveryView]:
    """List deliveries, newest first; none for a repository that nobody knows."""
    along = []
    if wanted.repository:
        along.append(col(Delivery.repository_id) == _repository_id(session, wanted.repository))
    walk = Walk(wanted.limit, wanted.before, along, _about(wanted))
    rows, following = walk_back(session, select(Delivery), col(Delivery.id), walk)
    return Page(items=_views(session, rows), next=following)


def _repository_id(session: Session, full_name: str) -> int:
    statement = select(Repository.id).where(Repository.name_key == full_name.lower())
    return session.exec(statement).first() or 0


def _about(wanted: DeliveryFilter) -> list[ColumnElement[bool]]:
    found = []
    if wanted.outcome is not None:
        found.append(col(Delivery.outcome) == wanted.outcome)
    if wanted.event:
        found.append(col(Delivery.event) == wanted.event)
    if wanted.text:
        found.append(_mentions(wanted.text))
    return found


def _mentions(text: str) -> ColumnElement[bool]:
    anywhere = (Delivery.ref, Delivery.sender, Delivery.reason)
    beginning = (Delivery.guid, Delivery.commit_sha)
    return or_(
        *(col(each).icontains(text, autoescape=True) for each in anywhere),
        *(col(each).startswith(text.lower(), autoescape=True) for each in beginning),
    )


def _views(session: Session, rows: Sequence[Delivery]) -> list[DeliveryView]:
    led_to: dict[int | None, list[int]] = defaultdict(list)
    for delivery_id, deployment_id in session.exec(
        select(Deployment.delivery_id, Deployment.id).where(
            col(Deployment.delivery_id).in_([row.id for row in rows])
        )
    ).all():
        led_to[delivery_id].append(deployment_id or 0)
    names = dict(
        session.exec(
            select(Repository.id, Repository.full_name).where(
                col(Repository.id).in_({row.repository_id for row in rows})
            )
        ).all()
    )
    return [
        DeliveryView(
            **row.model_dump(include=set(DeliveryView.model_fields)),
            repository=names.get(row.repository_id),
            deployments=sorted(led_to[row.id]),
        )
        for row in rows
    ]
