"""Removing from the engine what nothing owns: containers, images, networks. Only what is ours.

What exists is always listed before the database is asked: what is made in between is not on the
list, and what is on the list was on record before it was made.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.adapters.ports import Container, Engine, Image, Router
from jobs.draining import DRAIN_S
from jobs.models import App, Deployment, Lease, now
from jobs.naming import APP_LABEL, network_name
from jobs.queries import OPEN_STATES
from jobs.releases import restorable_releases
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.work import Tools

logger = logging.getLogger(__name__)

GRACE_S = 10  # of a container whose app is gone


def sweep_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove containers that neither serve nor are being deployed, and what removed apps left."""
    engine = tools.engine
    containers, images, networks = engine.containers(), engine.images(), engine.networks()
    with runtime.database.reading() as session:
        apps = {app.name: app for app in session.exec(select(App)).all()}
        leased = set(session.exec(select(Lease.app_id)).all())
        draining = [app for app in apps.values() if _has_just_switched(session, app)]
    live = {app.live_container_id for app in apps.values()}
    # Whoever holds an app's lease looks after all of its containers.
    spared = {app.name for app in apps.values() if app.id in leased}
    spared |= {app.name for app in draining if _drains(tools.router, app)}
    for container in containers:
        name = container.labels.get(APP_LABEL)
        if container.id not in live and name not in spared:
            _remove(tools, container, apps.get(name or ""))
    labels = [container.labels for container in containers] + [image.labels for image in images]
    gone = {found.get(APP_LABEL, "") for found in (*labels, *networks)} - {*apps, ""}
    for name in gone:
        engine.remove_network(network_name(runtime.identity, name))
    for image in images:
        if image.labels.get(APP_LABEL) in gone:
            _untag(engine, image)


def _has_just_switched(session: Session, app: App) -> bool:
    """Whether requests from before the switch may still be under way, and have their time yet."""
    live = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    if live is None or live.ended_at is None:
        return False
    return now() - live.ended_at < timedelta(seconds=DRAIN_S)


def _drains(router: Router, app: App) -> bool:
    """Whether the release before the live one still answers somebody."""
    return router.in_flight(app.host_port, _other_slot(app)) > 0


def _other_slot(app: App) -> str:
    return "b" if app.live_slot == "a" else "a"


def _remove(tools: Tools, container: Container, app: App | None) -> None:
    logger.info(
        "removing the container %s, which nothing owns",
        container.name,
        extra={"action": "container_swept"},
    )
    if app is not None and app.live_slot is not None:
        tools.router.release(app.host_port, _other_slot(app))
    tools.engine.stop(container.id, grace_s=GRACE_S if app is None else app.stop_grace_s)


def sweep_images(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove the images that no release needs: past their keep, or built by who was then killed."""
    images = tools.engine.images()
    with runtime.database.reading() as session:
        kept = {app.name: _kept_images(session, app) for app in _idle_apps(session)}
    for image in images:
        needed = kept.get(image.labels.get(APP_LABEL, ""))
        if needed is not None and needed.isdisjoint({image.id, *image.tags}):
            logger.info("removing the image %s", image.id, extra={"action": "image_swept"})
            _untag(tools.engine, image)


def _idle_apps(session: Session) -> Sequence[App]:
    """List the apps that have nothing to deploy: of the others, any image may be needed."""
    leased = select(Lease.app_id)
    opened = select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES))
    statement = select(App).where(col(App.id).not_in(leased), col(App.id).not_in(opened))
    return session.exec(statement).all()


def _kept_images(session: Session, app: App) -> set[str]:
    kept = restorable_releases(session, app)
    return {release.image for release in kept} | {release.image_id for release in kept}


def _untag(engine: Engine, image: Image) -> None:
    for tag in image.tags or (image.id,):
        engine.remove_image(tag)
