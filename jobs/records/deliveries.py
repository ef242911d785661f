"""Stores a delivery from GitHub and queues its deployments, in one transaction.

A push deploys an app only once: a redelivery repeats GitHub's GUID, a replay repeats the signed
body, and an app accepts each of the two only once. A delivery that deployed nothing (for example,
because the app was paused) may be sent again, and is then judged again.

A missed push is queued once the search finds it (`jobs.duties.catch_up`). Its deployment has no
signed body, and not always a GUID. If a delivery of that push arrives later, it counts as a
duplicate, and adds the missing values to the deployment.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, or_, select

from jobs.records.audit import Tag, note
from jobs.records.deployments import replace_running, supersede
from jobs.records.pushes import Missed, caught_up, newer_push, rule_of, why_not
from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.rules.triggers import Ignored, Judgement, Push
from jobs.states import ActorKind, DeliveryOutcome, OnNewPush, Trigger
from jobs.storage.models import App, Delivery, Deployment, Repository

CATCHING_UP = Actor(ActorKind.KEYSTONE, "catch-up")


@dataclass(frozen=True)
class Envelope:
    """A delivery's metadata."""

    guid: str
    event: str
    body_sha256: str  # empty for a missed push: GitHub's list does not hold the signed body
    repository_id: int | None
    address: str = ""


@dataclass(frozen=True)
class Receipt:
    """The response to a delivery."""

    outcome: DeliveryOutcome
    reason: str
    deployments: tuple[tuple[Deployment, str], ...] = ()  # each with its app's name


def write_down(
    session: Session, envelope: Envelope, outcome: DeliveryOutcome, reason: str
) -> Receipt:
    """Store a delivery that deploys nothing: a ping, or an event that Keystone ignores."""
    session.add(_row(envelope, outcome, reason))
    return Receipt(outcome, reason)


def accept_push(
    session: Session, envelope: Envelope, judgement: Judgement, *, missed: Missed | None = None
) -> Receipt:
    """Store a push and queue its deployments; do nothing if a missed push has arrived by now.

    Raises:
        RulesChangedError: an app's push rules have changed; see `Judgement.settle`.
    """
    push = judgement.push
    repository = session.get_one(Repository, envelope.repository_id)
    if missed is not None and on_record(session, repository, [envelope.guid]):
        return Receipt(DeliveryOutcome.DUPLICATE, "it has arrived meanwhile")
    actor = CATCHING_UP if missed else Actor(ActorKind.WEBHOOK, push.sender, envelope.address)
    apps = session.exec(
        select(App).where(App.repository_id == repository.id).order_by(App.name)
    ).all()
    earlier = _earlier_deployments(session, apps, envelope, push)
    wanted, reasons = _judge(session, judgement, [a for a in apps if a.id not in earlier], missed)
    if not wanted:
        return _nothing_to_do(session, envelope, push, apps, earlier, reasons)
    delivery = _row(envelope, DeliveryOutcome.QUEUED, "; ".join(reasons), push)
    session.add(delivery)
    session.flush()
    tag = Tag.PUSH_CAUGHT_UP if missed else Tag.DELIVERY_ACCEPTED
    note(session, tag, actor, f"delivery:{delivery.id}", guid=envelope.guid)
    queued = tuple(
        (_queue(session, app, push, envelope, delivery, actor), app.name) for app in wanted
    )
    return Receipt(DeliveryOutcome.QUEUED, delivery.reason, queued)


def on_record(session: Session, repository: Repository, guids: Collection[str]) -> set[str]:
    """Give the GUIDs for which the repository has a stored delivery."""
    statement = select(Delivery.guid).where(
        Delivery.repository_id == repository.id, col(Delivery.guid).in_(guids)
    )
    return set(session.exec(statement).all())


def _judge(
    session: Session, judgement: Judgement, apps: Sequence[App], missed: Missed | None
) -> tuple[list[App], list[str]]:
    wanted, reasons = [], [missed.why] if missed else []
    verdicts = judgement.on([rule_of(app) for app in apps])
    for app, verdict in zip(apps, verdicts, strict=True):
        match verdict:
            case Ignored(reason):
                reasons.append(reason)
            case _ if missed and (reason := why_not(session, app, judgement.push, missed)):
                reasons.append(reason)
            case _:
                wanted.append(app)
    return wanted, reasons


def _nothing_to_do(
    session: Session,
    envelope: Envelope,
    push: Push,
    apps: Sequence[App],
    earlier: dict[int, Deployment],
    reasons: list[str],
) -> Receipt:
    names = {app.id: app.name for app in apps}
    if earlier:
        outcome, reason = DeliveryOutcome.DUPLICATE, "this push was accepted before"
    else:
        outcome = DeliveryOutcome.IGNORED
        reason = "; ".join(reasons) or "no app deploys this repository"
    session.add(_row(envelope, outcome, reason, push))
    first = tuple((row, names[app_id]) for app_id, row in earlier.items())
    return Receipt(outcome, reason, first)


def _earlier_deployments(
    session: Session, apps: Sequence[App], envelope: Envelope, push: Push
) -> dict[int, Deployment]:
    statement = select(Deployment).where(
        col(Deployment.app_id).in_([app.id for app in apps]),
        or_(
            Deployment.guid == envelope.guid,
            Deployment.body_sha256 == envelope.body_sha256,
        ),
    )
    found = {row.app_id: row for row in session.exec(statement).all()}
    others = [app for app in apps if app.id not in found]
    found |= {row.app_id: row for row in caught_up(session, others, push)}
    for row in found.values():
        if row.trigger is Trigger.CATCH_UP:
            _complete(row, envelope, push)
    return found


def _complete(row: Deployment, envelope: Envelope, push: Push) -> None:
    """Add the values of a push's delivery to the deployment that caught up on the push."""
    row.guid = row.guid or envelope.guid
    row.body_sha256 = row.body_sha256 or envelope.body_sha256 or None
    row.before_sha = row.before_sha or push.before
    row.pushed_at = row.pushed_at or push.pushed_at


def _queue(
    session: Session, app: App, push: Push, envelope: Envelope, delivery: Delivery, actor: Actor
) -> Deployment:
    rival = newer_push(session, app, push)
    deployment = request(
        session,
        app,
        Request(
            trigger=Trigger.CATCH_UP if actor is CATCHING_UP else Trigger.PUSH,
            ref=push.ref,
            commit_sha=push.commit_sha,
            commit_message=push.message,
            author=push.author,
            before_sha=push.before,
            pushed_at=push.pushed_at,
            delivery_id=delivery.id,
            guid=envelope.guid,
            body_sha256=envelope.body_sha256 or None,
        ),
        actor,
    )
    if rival is not None:
        supersede(session, deployment, f"#{rival.number} is a newer push and came first")
    elif app.push_rules.on_new_push is OnNewPush.REPLACE:
        replace_running(session, app, deployment)
    return deployment


def _row(
    envelope: Envelope, outcome: DeliveryOutcome, reason: str, push: Push | None = None
) -> Delivery:
    return Delivery(
        guid=envelope.guid,
        event=envelope.event,
        repository_id=envelope.repository_id,
        body_sha256=envelope.body_sha256,
        outcome=outcome,
        reason=reason[:500],
        ref=push.ref[:500] if push else "",
        commit_sha=push.commit_sha if push else "",
        sender=push.sender[:200] if push else "",
    )
