"""Requests a deployment: adds a row to its app's queue."""

from dataclasses import dataclass

from sqlmodel import Session, func, select

from jobs.errors import (
    BacklogError,
)
from jobs.records.audit import Tag, note
from jobs.records.deployments import app_now
from jobs.records.statuses import announce
from jobs.rules.actors import Actor
from jobs.states import (
    DeploymentState,
    Kind,
    Trigger,
)
from jobs.storage.models import App, Deployment, Release

MOST_QUEUED = 2000  # per app


@dataclass(frozen=True)
class Request:
    """A request for a deployment."""

    trigger: Trigger
    ref: str
    release_id: int | None = None  # the release to start again; None: make one from the commit
    commit_sha: str = ""  # empty: the commit that the ref points to when the work begins
    commit_message: str = ""
    author: str = ""
    before_sha: str | None = None
    pushed_at: int | None = None
    delivery_id: int | None = None
    guid: str | None = None
    request_key: str | None = None  # identifies a repeated request; see `jobs.records.once`
    body_sha256: str | None = None
    recovers_id: int | None = None  # for a recovery: the deployment whose release did not stay up
    reason: str = ""  # for a recovery: why it is needed; kept when the recovery succeeds


def request(session: Session, app: App, wanted: Request, actor: Actor) -> Deployment:
    """Queue a deployment, with a commit status for GitHub and an audit event.

    Raises:
        BacklogError: the app already has `MOST_QUEUED` queued deployments.
    """
    app = app_now(session, app.id or 0)
    if wanted.trigger is not Trigger.RECOVERY:
        _ensure_room(session, app)
    app.last_deployment += 1
    deployment = Deployment(
        app_id=app.id or 0,
        number=app.last_deployment,
        kind=_kind(app, wanted),
        trigger=wanted.trigger,
        ref=wanted.ref,
        commit_sha=wanted.commit_sha,
        commit_message=wanted.commit_message[:2000],
        author=wanted.author[:200],
        actor_kind=actor.kind,
        actor_name=actor.kept_name,
        delivery_id=wanted.delivery_id,
        guid=wanted.guid,
        request_key=wanted.request_key,
        body_sha256=wanted.body_sha256,
        before_sha=wanted.before_sha,
        pushed_at=wanted.pushed_at,
        release_id=wanted.release_id,
        recovers_id=wanted.recovers_id,
        reason=wanted.reason[:1000],
    )
    session.add(deployment)
    session.flush()
    announce(session, deployment, "queued")
    note(
        session,
        Tag.DEPLOYMENT_REQUESTED,
        actor,
        f"deployment:{deployment.id}",
        app=app.name,
        trigger=wanted.trigger,
        ref=wanted.ref,
        commit_sha=wanted.commit_sha,
        **_release_told(session, wanted),
    )
    return deployment


def _release_told(session: Session, wanted: Request) -> dict[str, str]:
    release = session.get(Release, wanted.release_id) if wanted.release_id else None
    return {} if release is None else {"release": f"v{release.number}"}


def _ensure_room(session: Session, app: App) -> None:
    queued = select(func.count()).where(
        Deployment.app_id == app.id, Deployment.state == DeploymentState.QUEUED
    )
    if session.exec(queued).one() >= MOST_QUEUED:
        raise BacklogError(
            f"{MOST_QUEUED} deployments of {app.name} wait already; is a worker running? "
            "Cancel some, or try again when they are done"
        )


def _kind(app: App, wanted: Request) -> Kind:
    if wanted.trigger in {Trigger.ROLLBACK, Trigger.RECOVERY}:
        return Kind.ROLLBACK
    return Kind.UPDATE if app.live_release_id else Kind.INITIAL
