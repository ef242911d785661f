"""Requests a rollback to an earlier release, and pauses auto-deploy until a person resumes it."""

from dataclasses import replace

from sqlmodel import Session, col, select

from jobs.errors import NoReleaseError
from jobs.reads.releases import restorable_releases
from jobs.records.again import again
from jobs.records.audit import Tag, note
from jobs.records.deployments import app_now, supersede
from jobs.records.once import asked_before, key_of
from jobs.records.requests import request
from jobs.rules.actors import Actor
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import App, Deployment, Release


def roll_back(
    session: Session, app: App, number: int | None, actor: Actor, *, after: int | None = None
) -> Deployment:
    """Queue a rollback, pause auto-deploy, and end the deployments that are queued.

    Args:
        number: the release to start again; None for the one before the live one.
        after: the number of the last deployment that the sender has seen; a repeated request after
            the same deployment is queued once.

    Raises:
        NoReleaseError: there is no such release, or it is no longer kept.
    """
    app = app_now(session, app.id or 0)
    key = key_of(f"v{number or ''}", after)
    if (earlier := asked_before(session, app, key)) is not None:
        return earlier
    release = choose(app.live_release_id, restorable_releases(session, app), number)
    if app.auto_deploy:
        told = {"before": {"auto_deploy": True}, "after": {"auto_deploy": False}}
        note(session, Tag.APP_CHANGED, actor, f"app:{app.name}", **told)
    app.auto_deploy = False
    app.paused_reason = f"rolled back to v{release.number} by {actor}"
    for queued in _queued(session, app):
        supersede(session, queued, app.paused_reason)
    wanted = replace(again(session, release, Trigger.ROLLBACK), request_key=key)
    return request(session, app, wanted, actor)


def choose(live_id: int | None, restorable: list[Release], number: int | None) -> Release:
    """Choose the release to roll back to; the list must be sorted newest first.

    Raises:
        NoReleaseError: no release fits; the message may list those that are kept.
    """
    live = next((row.number for row in restorable if row.id == live_id), None)
    others = [row for row in restorable if row.id != live_id]
    if number is None:
        earlier = [row for row in others if live is None or row.number < live]
        if not earlier:
            raise NoReleaseError("there is no earlier release to go back to")
        return earlier[0]
    if number == live:
        raise NoReleaseError(f"v{number} is the live release")
    wanted = next((row for row in others if row.number == number), None)
    if wanted is None:
        kept = ", ".join(f"v{row.number}" for row in others) or "none"
        raise NoReleaseError(f"v{number} is not kept or was never live; kept are: {kept}")
    return wanted


def _queued(session: Session, app: App) -> list[Deployment]:
    statement = select(Deployment).where(
        Deployment.app_id == app.id, col(Deployment.state) == DeploymentState.QUEUED
    )
    return list(session.exec(statement).all())
