"""Pages of GitHub's deliveries, newest first, and the refused deliveries. SELECTs only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from jobs.reads.paging import Walk, walk_back
from jobs.reads.views import DeliveryView, Page, RefusedDeliveryView
from jobs.states import REFUSAL_WORDS, DeliveryOutcome, Refusal
from jobs.storage.models import Delivery, Deployment, RefusedDelivery, Repository

SIGNATURES = (Refusal.MISSING_SIGNATURE, Refusal.WRONG_SIGNATURE)


@dataclass(frozen=True)
class DeliveryFilter:
    """The filter of a list of deliveries; None means any."""

    repository: str | None = None  # "owner/name", case-insensitive
    outcome: DeliveryOutcome | None = None
    event: str | None = None
    text: str | None = None  # part of the ref, sender or reason; or prefix of the GUID or commit id
    limit: int = 20
    before: int | None = None  # the id of the last delivery already seen


def delivery_page(session: Session, wanted: DeliveryFilter) -> Page[DeliveryView]:
    """List deliveries, newest first; empty for an unknown repository."""
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


# --- Refused ---------------------------------------------------------------------------------


def refused_deliveries(session: Session) -> Page[RefusedDeliveryView]:
    """List refused deliveries: those of configured repositories first, then the newest first."""
    statement = (
        select(RefusedDelivery, Repository.full_name)
        .join(Repository, col(Repository.id) == RefusedDelivery.repository_id, isouter=True)
        .order_by(col(RefusedDelivery.repository_id).is_(None), col(RefusedDelivery.last_at).desc())
    )
    return Page(
        items=[
            RefusedDeliveryView(
                **row.model_dump(exclude={"id", "repository_id"}),
                repository=name,
                words=REFUSAL_WORDS[row.reason],
            )
            for row, name in session.exec(statement)
        ]
    )


@dataclass(frozen=True)
class WrongSecret:
    """A repository whose last deliveries were all refused for their signature."""

    repository: str
    reason: Refusal  # of the last delivery
    count: int


def wrong_secrets(session: Session, *, since: datetime) -> list[WrongSecret]:
    """List the repositories whose last deliveries were all refused for their signature, by name.

    A missed push that Keystone learnt of by asking GitHub does not count as an accepted delivery.
    """
    accepted = (
        select(Delivery.received_at)
        .where(Delivery.repository_id == Repository.id, Delivery.body_sha256 != "")
        .order_by(col(Delivery.id).desc())
        .limit(1)
        .correlate(Repository)
        .scalar_subquery()
    )
    statement = (
        select(RefusedDelivery, Repository.full_name)
        .join(Repository, col(Repository.id) == RefusedDelivery.repository_id)
        .where(
            col(RefusedDelivery.reason).in_(SIGNATURES),
            col(RefusedDelivery.last_at) > since,
            or_(accepted.is_(None), col(RefusedDelivery.last_at) > accepted),
        )
    )
    rows = sorted(session.exec(statement), key=lambda found: (found[1], found[0].last_at))
    found: dict[str, WrongSecret] = {}
    for row, name in rows:
        count = found[name].count if name in found else 0
        found[name] = WrongSecret(name, row.reason, count + row.count)
    return list(found.values())
