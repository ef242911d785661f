"""Writing down what GitHub sent, and what comes of it, in one transaction.

A push deploys an app once: a redelivery repeats GitHub's GUID and a replay repeats the signed body,
and an app takes each of them only once. What deployed nothing (because the app was paused, say) may
be sent again and is judged anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from jobs.models import App, Delivery, Deployment, Repository
from jobs.records.audit import Actor, Tag, note
from jobs.records.deployments import Request, replace_running, request, supersede
from jobs.states import DeliveryOutcome, DeploymentState, OnNewPush, Trigger
from jobs.triggers import Ignored, Moment, Order, Push, Rule, compare, decide


@dataclass(frozen=True)
class Envelope:
    """What is known of a delivery besides its contents."""

    guid: str
    event: str
    body_sha256: str
    repository_id: int | None
    address: str = ""


@dataclass(frozen=True)
class Receipt:
    """What is answered to a delivery."""

    outcome: DeliveryOutcome
    reason: str
    deployments: tuple[tuple[Deployment, str], ...] = ()  # each with its app's name


def write_down(
    session: Session, envelope: Envelope, outcome: DeliveryOutcome, reason: str
) -> Receipt:
    """Keep a delivery that deploys nothing: a ping, or an event we do not act on."""
    session.add(_row(envelope, outcome, reason))
    return Receipt(outcome, reason)


def accept_push(session: Session, envelope: Envelope, push: Push) -> Receipt:
    """Keep a push and queue the deployments it asks for."""
    # Locked: of two deliveries of one push at the same time, the second must see the first.
    repository = session.get_one(Repository, envelope.repository_id, with_for_update=True)
    actor = Actor("webhook", push.sender, envelope.address)
    _learn_identity(session, repository, push, actor)
    apps = session.exec(
        select(App).where(App.repository_id == repository.id).order_by(App.name)
    ).all()
    earlier = _earlier_deployments(session, apps, envelope)
    wanted, reasons = _judge(push, [app for app in apps if app.id not in earlier])
    if not wanted:
        return _nothing_to_do(session, envelope, push, apps, earlier, reasons)
    delivery = _row(envelope, DeliveryOutcome.QUEUED, "; ".join(reasons), push)
    session.add(delivery)
    session.flush()
    note(session, Tag.DELIVERY_ACCEPTED, actor, f"delivery:{delivery.id}", guid=envelope.guid)
    queued = tuple(
        (_queue(session, app, push, envelope, delivery, actor), app.name) for app in wanted
    )
    return Receipt(DeliveryOutcome.QUEUED, delivery.reason, queued)


def _judge(push: Push, apps: Sequence[App]) -> tuple[list[App], list[str]]:
    wanted, reasons = [], []
    for app in apps:
        rule = Rule(
            app=app.name,
            branch=app.branch,
            auto_deploy=app.auto_deploy,
            skip_phrases=app.skip_phrases,
            watch_paths=app.watch_paths,
            tag_pattern=app.tag_pattern,
        )
        match decide(push, rule):
            case Ignored(reason):
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
    session: Session, apps: Sequence[App], envelope: Envelope
) -> dict[int, Deployment]:
    statement = select(Deployment).where(
        col(Deployment.app_id).in_([app.id for app in apps]),
        or_(
            Deployment.guid == envelope.guid,
            Deployment.body_sha256 == envelope.body_sha256,
        ),
    )
    return {row.app_id: row for row in session.exec(statement).all()}


def _queue(
    session: Session, app: App, push: Push, envelope: Envelope, delivery: Delivery, actor: Actor
) -> Deployment:
    rival = _newer_push(session, app, push)
    deployment = request(
        session,
        app,
        Request(
            trigger=Trigger.PUSH,
            ref=push.ref,
            commit_sha=push.commit_sha,
            commit_message=push.message,
            author=push.author,
            before_sha=push.before,
            pushed_at=push.pushed_at,
            delivery_id=delivery.id,
            guid=envelope.guid,
            body_sha256=envelope.body_sha256,
        ),
        actor,
    )
    if rival is not None:
        supersede(session, deployment, f"#{rival.number} is a newer push and came first")
    elif app.on_new_push is OnNewPush.REPLACE:
        replace_running(session, app, deployment)
    return deployment


def _newer_push(session: Session, app: App, push: Push) -> Deployment | None:
    """Find a push of the same ref that was made later but delivered earlier."""
    statement = (
        select(Deployment)
        .where(
            Deployment.app_id == app.id,
            Deployment.ref == push.ref,
            Deployment.state != DeploymentState.SUPERSEDED,
            col(Deployment.pushed_at).is_not(None),
        )
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    latest = session.exec(statement).first()
    if latest is None:
        return None
    mine = Moment(push.before, push.commit_sha, push.pushed_at)
    its = Moment(latest.before_sha, latest.commit_sha, latest.pushed_at)
    return latest if compare(mine, its) is Order.OLDER else None


def _learn_identity(session: Session, repository: Repository, push: Push, actor: Actor) -> None:
    """Keep GitHub's id with the repository, and follow a rename that the id proves.

    What belongs to another repository's row already is left there: the push counts all the same.
    """
    key = push.full_name.lower()
    if repository.github_id is None and repository.name_key == key:
        is_known = _has_other(session, repository, col(Repository.github_id) == push.github_id)
        repository.github_id = None if is_known else push.github_id
    if repository.github_id != push.github_id or repository.full_name == push.full_name:
        return
    if not _has_other(session, repository, col(Repository.name_key) == key):
        note(
            session,
            Tag.REPOSITORY_RENAMED,
            actor,
            f"repository:{repository.id}",
            before=repository.full_name,
            after=push.full_name,
        )
        repository.full_name = push.full_name
        repository.name_key = key


def _has_other(session: Session, repository: Repository, condition: ColumnElement[bool]) -> bool:
    statement = select(Repository.id).where(Repository.id != repository.id, condition)
    return session.exec(statement).first() is not None


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
