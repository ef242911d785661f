"""Compares a push with an app's deployments: whether it is a duplicate, outdated or new."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select

from jobs.rules.triggers import Judgement, Order, Push, Rule, compare
from jobs.states import PUSHES, ActorKind, DeploymentState, Trigger
from jobs.storage.models import App, Deployment, Release, Repository

ASKED_FOR = (Trigger.MANUAL, Trigger.ROLLBACK)


@dataclass(frozen=True)
class Missed:
    """The details of a missed push, which Keystone found by asking GitHub."""

    at: datetime  # of GitHub's first attempt to deliver it
    why: str  # "GitHub was answered 502"
    settled: frozenset[int] = frozenset()  # ids of the apps with a newer missed push


def rule_of(app: App) -> Rule:
    """Give an app's rule for pushes."""
    return Rule(
        app=app.name,
        branch=app.branch,
        auto_deploy=app.auto_deploy,
        wanted=app.push_rules,
    )


def judge(session: Session, push: Push) -> Judgement:
    """Judge a push by the present rules of all apps of the repository that it claims.

    The claim is not verified yet, but nothing depends on that here: rules that are needed later and
    were not read now are judged then (`Judgement.settle`).
    """
    claimed = or_(
        col(Repository.github_id) == push.github_id,
        col(Repository.name_key) == push.full_name.lower(),
    )
    apps = select(App).join(Repository, col(App.repository_id) == col(Repository.id)).where(claimed)
    return Judgement(push, map(rule_of, session.exec(apps)))


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


def caught_up(session: Session, apps: Sequence[App], push: Push) -> list[Deployment]:
    """Find the deployments, at most one per app, that caught up on this push before it arrived.

    Each must be the last one of its ref: after another deployment, the same commit is a different
    push. A queued deployment of an older push that arrived in between does not count: it will not
    be deployed. One statement covers all apps, because the write lock is held meanwhile.
    """
    last_of_app = (
        select(Deployment.id)
        .where(
            col(Deployment.app_id) == col(App.id),
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
        .correlate(App)
        .scalar_subquery()
    )
    last = select(last_of_app).where(col(App.id).in_([app.id for app in apps]))
    found = session.exec(
        select(Deployment).where(
            col(Deployment.id).in_(last),
            Deployment.trigger == Trigger.CATCH_UP,
            col(Deployment.body_sha256).is_(None),
            Deployment.commit_sha == push.commit_sha,
            or_(col(Deployment.pushed_at).is_(None), Deployment.pushed_at == push.pushed_at),
        )
    )
    return list(found)


def why_not(session: Session, app: App, push: Push, missed: Missed) -> str:
    """Say why a missed push is not deployed to an app any more; "" if it still is."""
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
            # Exclude the requests of a restore: they are for the backup's live releases, and do not
            # replace later pushes.
            Deployment.actor_kind != ActorKind.KEYSTONE,
        )
        .order_by(col(Deployment.id).desc())
        .limit(1)
    )
    return session.exec(statement).first()
