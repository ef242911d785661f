"""Schedules the searches for missed pushes, and stores their findings and the branch heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from jobs.records.audit import Tag, note
from jobs.records.deliveries import CATCHING_UP
from jobs.records.deployments import replace_running
from jobs.records.pushes import asked_for_since, rule_of
from jobs.records.requests import Request, request
from jobs.rules.app_settings import EVERY_TAG
from jobs.rules.missed_pushes import Finding, Sight, judge_head
from jobs.rules.newest_tag import is_newer
from jobs.rules.push_patterns import is_tag_wanted
from jobs.rules.refs import TAG_PREFIX
from jobs.rules.triggers import Deploy, Judgement, default_ref
from jobs.states import DeploymentState, OnNewPush, Trigger
from jobs.storage.models import App, BranchHead, CatchUp, Delivery, Deployment, Repository, now

AFTER_FAILURE = timedelta(minutes=1)


@dataclass(frozen=True)
class Turn:
    """A repository whose search for missed pushes has been claimed."""

    repository: Repository
    apps: Sequence[App]  # by name
    settled_until: datetime | None
    began_at: datetime


def look_again(session: Session) -> None:
    """Make every repository due now, except those for which GitHub asked for a pause."""
    session.execute(update(CatchUp).values(next_look_at=None))


def is_anybodys_turn(session: Session) -> bool:
    """Whether a repository is due."""
    return _due(session) is not None


def take_turn(session: Session, *, every: timedelta) -> Turn | None:
    """Claim the next due repository; no other process gets it during the period `every`."""
    repository_id = _due(session)
    if repository_id is None:
        return None
    repository = session.get_one(Repository, repository_id)
    row = session.get(CatchUp, repository_id)
    moment = now()
    if row is None:
        row = CatchUp(repository_id=repository_id)
        session.add(row)
    row.next_look_at = moment + every
    return Turn(repository, _apps_of(session, repository_id), row.settled_until, moment)


def _due(session: Session) -> int | None:
    moment = now()
    statement = (
        select(Repository.id)
        .join(CatchUp, col(CatchUp.repository_id) == col(Repository.id), isouter=True)
        .where(
            col(Repository.id).in_(select(App.repository_id)),
            or_(col(CatchUp.next_look_at).is_(None), col(CatchUp.next_look_at) <= moment),
            or_(col(CatchUp.paused_until).is_(None), col(CatchUp.paused_until) <= moment),
        )
        # Repositories that were never searched come first; SQLite sorts NULL first by default.
        .order_by(col(CatchUp.looked_at).nulls_first(), col(Repository.id))
        .limit(1)
    )
    return session.exec(statement).first()


def _apps_of(session: Session, repository_id: int) -> Sequence[App]:
    return session.exec(
        select(App).where(App.repository_id == repository_id).order_by(App.name)
    ).all()


def end_turn(session: Session, turn: Turn, finding: Finding) -> None:
    """Store the finding and the time of the next search.

    The next search comes sooner after a failure, and at once if this one was incomplete. Each
    search records the pushes that it has read, so repeated searches come to an end.
    """
    row = session.get(CatchUp, turn.repository.id)
    if row is None:  # the repository was removed meanwhile
        return
    moment = now()
    row.looked_at = moment
    row.way = finding.way
    row.missed = finding.missed
    row.found = finding.found[:500]
    row.problem = finding.problem[:500]
    pause = finding.retry_after_s
    row.paused_until = None if pause is None else moment + timedelta(seconds=pause)
    if finding.is_failure:
        row.next_look_at = min(row.next_look_at or moment, moment + AFTER_FAILURE)
    elif finding.is_whole:
        row.settled_until = turn.began_at
    else:
        row.next_look_at = moment


# --- Branches --------------------------------------------------------------------------------


def followed_ref(app: App) -> str:
    """Give the full name of the branch that an app deploys, or `NEWEST_TAG`."""
    return default_ref(app.branch, app.push_rules.deploy_on)


def sight_of(session: Session, app: App, ref: str, head: str | None) -> Sight:
    """Collect what is known about an app's branch, or newest tag, with this head."""
    seen = session.get(BranchHead, app.id)
    seen = seen if seen is not None and _is_followed(seen.ref, ref) else None
    last = _last_of(session, app, ref)
    moments = [seen.seen_at] if seen else []
    moments += [last.queued_at] if last else []
    asked = asked_for_since(session, app, max(moments)) if moments else None
    return Sight(
        ref=ref,
        head=head,
        base=(last.commit_sha if last else None) or (seen.commit_sha if seen else None),
        seen=seen.commit_sha if seen else None,
        is_known=head is not None and _is_known(session, app, ref, head),
        is_older=any(_is_older(app, ref, row.ref) for row in (seen, last) if row),
        asked_for=asked.number if asked and asked.ref != ref else None,
    )


def _is_followed(seen: str, ref: str) -> bool:
    """Whether a ref is the branch that is followed, or one of the tags that are."""
    return seen == ref or (seen.startswith(TAG_PREFIX) and ref.startswith(TAG_PREFIX))


def _is_older(app: App, ref: str, known: str) -> bool:
    """Whether a tag is older than one that was known: that was deleted, which deploys nothing.

    A tag that the app's pattern does not match (any more) is not compared: a person may have
    deployed it, or the pattern has changed.
    """
    is_compared = known.startswith(TAG_PREFIX) and is_tag_wanted(
        app.push_rules.tags or EVERY_TAG, known.removeprefix(TAG_PREFIX)
    )
    return is_compared and is_newer(known, ref)


def _last_of(session: Session, app: App, ref: str) -> Deployment | None:
    is_tag = ref.startswith(TAG_PREFIX)
    of_ref = col(Deployment.ref).startswith(TAG_PREFIX) if is_tag else col(Deployment.ref) == ref
    statement = (
        select(Deployment)
        .where(Deployment.app_id == app.id, of_ref, Deployment.commit_sha != "")
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    return session.exec(statement).first()


def _is_known(session: Session, app: App, ref: str, head: str) -> bool:
    deployed = select(Deployment.id).where(
        Deployment.app_id == app.id, Deployment.commit_sha == head
    )
    delivered = select(Delivery.id).where(
        Delivery.repository_id == app.repository_id,
        Delivery.ref == ref,
        Delivery.commit_sha == head,
    )
    # A requested deployment whose branch is not resolved yet will use the head at that time.
    on_its_way = select(Deployment.id).where(
        Deployment.app_id == app.id,
        col(Deployment.ref).in_({ref, followed_ref(app)}),
        Deployment.commit_sha == "",
        col(Deployment.state).in_([DeploymentState.QUEUED, DeploymentState.RUNNING]),
    )
    ways = (deployed, delivered, on_its_way)
    return any(session.exec(way.limit(1)).first() is not None for way in ways)


def note_head(session: Session, app_id: int, ref: str, head: str, *, seen_at: datetime) -> None:
    """Store the head of an app's branch, deployed or not; do nothing if the app was removed."""
    if session.get(App, app_id) is None:
        return
    row = session.get(BranchHead, app_id)
    if row is None:
        session.add(BranchHead(app_id=app_id, ref=ref, commit_sha=head, seen_at=seen_at))
        return
    row.ref, row.commit_sha, row.seen_at = ref, head, seen_at


def queue_head(session: Session, app_id: int, judgement: Judgement) -> Deployment | None:
    """Queue the missed push of a branch's head, unless it has become known in the meantime.

    Raises:
        RulesChangedError: the app's push rules have changed; see `Judgement.settle`.
    """
    push = judgement.push
    app = session.get(App, app_id)
    if app is None:
        return None
    is_missed = judge_head(sight_of(session, app, push.ref, push.commit_sha)) == Deploy()
    if not is_missed or judgement.on([rule_of(app)]) != [Deploy()]:
        return None
    wanted = Request(
        trigger=Trigger.CATCH_UP,
        ref=push.ref,
        commit_sha=push.commit_sha,
        commit_message=push.message,
        author=push.author,
        before_sha=push.before or None,
    )
    note(
        session,
        Tag.PUSH_CAUGHT_UP,
        CATCHING_UP,
        f"app:{app.name}",
        ref=push.ref,
        commit_sha=push.commit_sha,
    )
    deployment = request(session, app, wanted, CATCHING_UP)
    if app.push_rules.on_new_push is OnNewPush.REPLACE:
        replace_running(session, app, deployment)
    return deployment
