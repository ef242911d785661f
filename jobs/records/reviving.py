"""What a restored database must forget, and the deployments that bring its apps back.

Each app that was live is deployed again as its live release, with that release's configuration and
variables: whoever went back to it may have done so because of the ones set now. Images do not
travel in a backup, so its image is built again where it is gone. The deployment is queued here, in
the same transaction, and so exactly once. Until it is done, a container that serves the app on this
machine goes on doing so; an address from elsewhere is forgotten, since somebody else's container
may have it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, delete, select, text

from jobs.records.again import again
from jobs.records.audit import Tag, note
from jobs.records.deployments import abandon
from jobs.records.requests import request
from jobs.records.trials import end_trial
from jobs.rules.actors import Actor
from jobs.rules.container_values import Container
from jobs.rules.naming import APP_LABEL, DEPLOYMENT_LABEL
from jobs.rules.text import moment
from jobs.states import OPEN_STATES, ActorKind, ContainerState, StepState, Trigger
from jobs.storage.models import App, Deployment, Identity, Lease, LoginSession, Release, Step, now

SLOT = "a"


@dataclass(frozen=True)
class Revived:
    """What a restored Keystone will do when it is started.

    Attributes:
        apps: those that are deployed again, by name.
        serving: those of them that a container on this machine serves already.
    """

    apps: Sequence[str]
    serving: Sequence[str]


def revive(
    session: Session, made_at: datetime, containers: Sequence[Container], actor: Actor
) -> Revived:
    """Make a database from a backup one that can be started.

    Args:
        made_at: when the backup was made.
        containers: those of this Keystone's identity that are on this machine's engine.
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
    """Choose the container that serves an app until it is deployed again, if there is one.

    That is the live one of the backup, else one that went live after it: of several, the one of the
    earliest deployment, since a later one may not have become healthy.
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
    # What is left open is the retirement after a success.
    for step in session.exec(select(Step).where(col(Step.ended_at).is_(None))).all():
        step.state, step.reason, step.ended_at = StepState.ERROR, reason, now()


def _begin_ids_after(session: Session, containers: Sequence[Container]) -> None:
    """Keep a deployment that is to come from getting the id, and so the name, of one still here."""
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
    """Say which container serves an app now; what the backup kept to go back to is forgotten."""
    end_trial(app)
    release = session.get(Release, app.live_release_id) if app.live_release_id else None
    if container is None or release is None:
        app.live_container_id = app.live_address = app.live_slot = None
        app.container_state = ContainerState.MISSING if release else None
        app.container_reason = "Keystone was restored; deploy it again" if release else ""
        app.container_restarts = None
        return
    app.live_container_id = container.id
    app.live_address = f"{container.ip}:{release.container.container_port}"
    app.live_slot = app.live_slot or SLOT
    app.container_state, app.container_reason = ContainerState.RUNNING, ""
    app.container_restarts = None


def _redeploy(session: Session, app: App, actor: Actor) -> None:
    """Queue the live release again; no rollback, as nothing is taken back and pushes go on."""
    release = session.get_one(Release, app.live_release_id)
    request(session, app, again(session, release, Trigger.MANUAL), actor)
