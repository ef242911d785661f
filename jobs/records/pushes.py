"""How a push stands to the deployments an app has: told of already, overtaken, or news."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select

from jobs.models import App, Deployment, Release
from jobs.states import PUSHES, DeploymentState, Trigger
from jobs.triggers import Order, Push, Rule, compare

ASKED_FOR = (Trigger.MANUAL, Trigger.ROLLBACK)


@dataclass(frozen=True)
class Missed:
    """What makes a push a missed one: GitHub told of it when it was asked."""

    at: datetime  # when GitHub tried to deliver it first
    why: str  # "GitHub was answered 502"
    settled: frozenset[int] = frozenset()  # the ids of apps that a newer missed push was for


def rule_of(app: App) -> Rule:
    """Give what an app asks of a push."""
    return Rule(
        app=app.name,
        branch=app.branch,
        auto_deploy=app.auto_deploy,
        skip_phrases=app.skip_phrases,
        watch_paths=app.watch_paths,
        tag_pattern=app.tag_pattern,
    )


def newer_push(session: Session, app: App, push: Push) -> Deployment | None:
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
    return latest if compare(push.pushed_at, latest.pushed_at) is Order.OLDER else None


def caught_up(session: Session, app: App, push: Push) -> Deployment | None:
    """Find the deployment that caught up on this push before it arrived.

    It must be the last one of its ref: after another one, the same commit is another push. What was
    pushed before this, and arrived between the two, does not count: it is not deployed any more.
    """
    statement = (
        select(Deployment)
        .where(
            Deployment.app_id == app.id,
            Deployment.ref == push.ref,
            col(Deployment.trigger).in_(PUSHES),
            Deployment.state != DeploymentState.SUPERSEDED,
            or_(
                Deployment.state != DeploymentState.QUEUED,
                col(Deployment.pushed_at).is_(None),
                col(Deployment.pushed_at) >= (push.pushed_at or 0),
            ),
        )
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    last = session.exec(statement).first()
    if last is None or last.trigger is not Trigger.CATCH_UP or last.body_sha256 is not None:
        return None
    is_it = last.commit_sha == push.commit_sha and last.pushed_at in {None, push.pushed_at}
    return last if is_it else None


def why_not(session: Session, app: App, push: Push, missed: Missed) -> str:
    """Say why a missed push comes too late for an app; empty when it does not."""
    if app.created_at > missed.at:
        return f"{app.name} was added after it"
    if app.id in missed.settled:
        return f"a newer push for {app.name} was missed as well"
    if (newer := newer_push(session, app, push)) is not None:
        return f"#{newer.number} is a newer push"
    if (asked := asked_for_since(session, app, missed.at)) is not None:
        return f"#{asked.number} was asked for after it"
    live = session.get(Release, app.live_release_id) if app.live_release_id else None
    if live is not None and live.commit_sha == push.commit_sha:
        return f"{push.commit_sha[:7]} is live already"
    return ""


def asked_for_since(session: Session, app: App, moment: datetime) -> Deployment | None:
    """Find the newest deployment that a person asked for after that moment."""
    statement = (
        select(Deployment)
        .where(
            Deployment.app_id == app.id,
            col(Deployment.trigger).in_(ASKED_FOR),
            col(Deployment.queued_at) > moment,
            # A restore asks, too: for what was live in the backup, not instead of later pushes.
            col(Deployment.actor).not_like("keystone:%"),
        )
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    return session.exec(statement).first()
