"""Prepares a restored database: removes outdated rows, and queues the apps' live releases again.

Each app that was live is deployed again with its live release, including that release's
configuration and variables. The present ones may be wrong: they may be the reason why somebody
rolled back to that release. A backup holds no images, so a missing image is built again. The
deployment is queued here, in the same transaction, and so exactly once. Until it is done, a
container that serves the app on this machine keeps serving. Addresses of other containers are
removed, because on this machine another program's container may have them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, delete, select, text

from jobs.records.again import again
from jobs.records.audit import Tag, note
from jobs.records.deployments import abandon
from jobs.records.requests import request
from jobs.records.trials import forget_fallback
from jobs.rules.actors import Actor
from jobs.rules.container_values import Container
from jobs.rules.naming import APP_LABEL, DEPLOYMENT_LABEL
from jobs.rules.text import moment
from jobs.states import OPEN_STATES, ActorKind, ContainerState, StepState, Trigger
from jobs.storage.models import App, Deployment, Identity, Lease, LoginSession, Release, Step, now

SLOT = "a"


@dataclass(frozen=True)
class Revived:
    """The apps that a restored Keystone will deploy when it starts.

    Attributes:
        apps: the names of the apps that are deployed again.
        serving: the names of those that a container on this machine already serves.
    """

    apps: Sequence[str]
    serving: Sequence[str]


def revive(
    session: Session, made_at: datetime, containers: Sequence[Container], actor: Actor
) -> Revived:
    """Prepare a database from a backup for the next start.

    Args:
        made_at: when the backup was made.
        containers: the containers of this Keystone's identity on this machine's engine.
    """
    session.get_one(Identity, 1).adopts_items = True
    session.exec(delete(Lease))
    session.exec(delete(LoginSession))
    _end_deployments(session, made_at)
    _begin_ids_after(session, containers)
    apps = session.exec(select(App).order_by(App.name)).all()
    live = [app for app in apps if app.live_release_id is not None]
    found = {app.name: serving(app, containers) for app in live}
    for app in apps:
        _point_at(session, app, found.get(app.name))
    keystone = Actor(ActorKind.KEYSTONE, f"restored from a backup of {moment(made_at)}")
    for app in live:
        _redeploy(session, app, keystone)
    names = [app.name for app in live]
    note(session, Tag.KEYSTONE_RESTORED, actor, "keystone", made_at=moment(made_at), apps=names)
    return Revived(names, [name for name in names if found[name] is not None])


def serving(app: App, containers: Sequence[Container]) -> Container | None:
    """Choose the running container that serves an app until its deployment, if there is one.

    It is the backup's live container, or else one from after the backup: of several, the one of the
    earliest deployment, because a later one may never have become healthy.
    """
    running = [
        container
        for container in containers
        if container.labels.get(APP_LABEL) == app.name
        and container.state is ContainerState.RUNNING
        and container.ip
    ]
    live = next((each for each in running if each.id == app.live_container_id), None)
    return live or min(running, key=_deployment_of, default=None)


def _deployment_of(container: Container) -> int:
    label = container.labels.get(DEPLOYMENT_LABEL, "")
    return int(label) if label.isdecimal() else 0


def _end_deployments(session: Session, made_at: datetime) -> None:
    reason = f"it had not ended when the backup of {moment(made_at)} was made; deploy again"
    open_ones = select(Deployment).where(col(Deployment.state).in_(OPEN_STATES))
    for deployment in session.exec(open_ones).all():
        abandon(session, deployment, reason)
    session.flush()
    # The steps that are still open are those that retire containers after a success.
    for step in session.exec(select(Step).where(col(Step.ended_at).is_(None))).all():
        step.state, step.reason, step.ended_at = StepState.ERROR, reason, now()


def _begin_ids_after(session: Session, containers: Sequence[Container]) -> None:
    """Raise the next id, so that no new deployment gets the id and name of a present container."""
    newest = max(map(_deployment_of, containers), default=0)
    if session.get_bind().dialect.name == "sqlite":
        raised = "UPDATE sqlite_sequence SET seq = max(seq, :newest) WHERE name = 'deployments'"
    else:
        raised = (
            "SELECT setval(pg_get_serial_sequence('deployments', 'id'), "
            "greatest((SELECT max(id) FROM deployments), :newest, 1))"
        )
    session.execute(text(raised), {"newest": newest})


def _point_at(session: Session, app: App, container: Container | None) -> None:
    """Set the container that serves an app now; clear the fallback from the backup."""
    app.trial_ends_at = None
    forget_fallback(app)
    release = session.get(Release, app.live_release_id) if app.live_release_id else None
    if container is None or release is None:
        app.live_container_id = app.live_address = app.live_slot = None
        app.container_state = ContainerState.MISSING if release else None
        app.container_reason = "Keystone was restored; deploy it again" if release else ""
        app.container_restarts = None
        return
    app.live_container_id = container.id
    app.live_address = f"{container.ip}:{release.container.port}"
    app.live_slot = app.live_slot or SLOT
    app.container_state, app.container_reason = ContainerState.RUNNING, ""
    app.container_restarts = None


def _redeploy(session: Session, app: App, actor: Actor) -> None:
    """Queue the live release again, not as a rollback: auto-deploy is not paused."""
    release = session.get_one(Release, app.live_release_id)
    request(session, app, again(session, release, Trigger.MANUAL), actor)
