"""Automatic recovery: withdraws a live release that did not stay up.

The previous release is queued in the same transaction. So whatever process is killed afterwards,
the failed deployment no longer counts as a success, GitHub is told so, and the recovery waits in
the queue like any deployment.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlmodel import Session, col, select

from jobs.reads.releases import restorable_releases
from jobs.records.again import again
from jobs.records.audit import Tag, note
from jobs.records.deployments import has_begun_to_switch, supersede, withdraw
from jobs.records.requests import request
from jobs.rules.actors import Actor
from jobs.states import ActorKind, DeploymentState, Trigger
from jobs.storage.models import App, Deployment, Release

RECOVERY = Actor(ActorKind.KEYSTONE, "recovery")


def go_back(session: Session, app: App, why: str, told: str) -> Deployment | None:
    """Withdraw the app's live deployment, and queue the release that served before it.

    Auto-deploy is not changed. The search for missed pushes will not deploy the failed commit
    again, because the commit is known.

    Args:
        why: what happened to the container, in words.
        told: the end of that sentence, which quotes the container's output, masked; may be empty.

    Returns:
        The recovery; None if no release was live before: then only the status is corrected.
    """
    failed = session.get_one(Deployment, app.live_deployment_id)
    release = _way_back(session, app)
    app.trial_ends_at = None
    if release is None:
        recovery, outcome = None, "there is no earlier release to go back to"
    else:
        reason = f"#{failed.number} did not stay up, so v{release.number} serves again: {why}{told}"
        recovery = _queue(session, app, failed, release, reason)
        outcome = f"going back to v{release.number} with #{recovery.number}"
        _make_way(session, app)
    withdraw(session, failed, f"{why}; {outcome}{told}")
    note(
        session,
        Tag.DEPLOYMENT_WITHDRAWN,
        RECOVERY,
        f"deployment:{failed.id}",
        app=app.name,
        reason=failed.reason,
    )
    return recovery


def end_needless(session: Session, app: App, queued: Sequence[Deployment]) -> None:
    """End the queued recoveries whose failed release is no longer live."""
    for row in queued:
        if row.trigger is Trigger.RECOVERY and row.recovers_id != app.live_deployment_id:
            supersede(session, row, "another release is live by now")


def has_open_recovery(session: Session, app: App) -> bool:
    """Whether an app has a queued or running recovery."""
    statement = select(Deployment.id).where(
        Deployment.app_id == app.id,
        Deployment.trigger == Trigger.RECOVERY,
        col(Deployment.state).in_([DeploymentState.QUEUED, DeploymentState.RUNNING]),
    )
    return session.exec(statement.limit(1)).first() is not None


def _way_back(session: Session, app: App) -> Release | None:
    """Choose the fallback; if there is none, the newest kept release that has never failed.

    A release that does not stay up is not chosen again, so repeated recoveries come to an end.
    """
    if app.fallback_release_id is not None:
        return session.get(Release, app.fallback_release_id)
    failed = session.exec(
        select(Deployment.release_id).where(
            Deployment.app_id == app.id, Deployment.state == DeploymentState.FAILURE
        )
    ).all()
    passed_over = {app.live_release_id, *failed}
    return next(
        (row for row in restorable_releases(session, app) if row.id not in passed_over), None
    )


def _queue(
    session: Session, app: App, failed: Deployment, release: Release, reason: str
) -> Deployment:
    wanted = again(session, release, Trigger.RECOVERY)
    wanted = replace(wanted, recovers_id=failed.id, reason=reason)
    return request(session, app, wanted, RECOVERY)


def _make_way(session: Session, app: App) -> None:
    """Send running deployments back into the queue, because the site may be down until recovery.

    One that has begun to switch is almost live, and replaces the failed release itself.
    """
    running = select(Deployment).where(
        Deployment.app_id == app.id, Deployment.state == DeploymentState.RUNNING
    )
    for row in session.exec(running).all():
        if not has_begun_to_switch(session, row.id or 0):
            row.gives_way = True
