"""Removing from the engine what nothing owns: containers, images, networks. Only what is ours.

What exists is always listed before the database is asked: what is made in between is not on the
list, and what is on the list was on record before it was made.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.adapters.ports import Container, Engine, Image, Router, other_slot
from jobs.errors import DockerError
from jobs.lease import is_free
from jobs.models import App, Deployment, Lease, now
from jobs.naming import APP_LABEL, network_name
from jobs.queries import OPEN_STATES
from jobs.releases import needed_releases
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.states import ContainerState
from jobs.work import Tools

logger = logging.getLogger(__name__)

GRACE_S = 10  # of a container whose app is gone


def sweep_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove containers that neither serve nor are being deployed, and what removed apps left."""
    engine = tools.engine
    containers, images, networks = engine.containers(), engine.images(), engine.networks()
    with runtime.database.reading() as session:
        apps = {app.name: app for app in session.exec(select(App)).all()}
        unowned = [
            container
            for container in containers
            if not _is_owned(session, tools.router, container, apps.get(_app_of(container)))
        ]
    for container in unowned:
        try:
            _remove(runtime, tools, container)
        except DockerError as exc:
            # Tried again in the next round; meanwhile the others go.
            logger.warning("%s", exc, extra={"action": "container_left"})
    labels = [container.labels for container in containers] + [image.labels for image in images]
    gone = {found.get(APP_LABEL, "") for found in (*labels, *networks)} - {*apps, ""}
    for name in gone:
        # The containers may have taken their time to end: one of that name may be there by now.
        if not _exists(runtime, name):
            engine.remove_network(network_name(runtime.identity, name))
            _untag_all(engine, [image for image in images if image.labels.get(APP_LABEL) == name])


def _app_of(container: Container) -> str:
    return container.labels.get(APP_LABEL, "")


def _is_owned(session: Session, router: Router, container: Container, app: App | None) -> bool:
    """Whether a container serves, or somebody looks after it."""
    if app is None:
        return False
    # Whoever holds an app's lease looks after all of its containers.
    is_live = container.id == app.live_container_id
    is_ready = _is_fallback(container, app) and container.state is not ContainerState.RUNNING
    return is_live or is_ready or not is_free(session, app.id or 0) or _drains(session, router, app)


def _is_fallback(container: Container, app: App) -> bool:
    """Whether a container is kept, stopped, until the live one has stood its trial."""
    return container.id == app.fallback_container_id


def _drains(session: Session, router: Router, app: App) -> bool:
    """Whether the release before the live one still answers somebody."""
    if not _has_just_switched(session, app):
        return False
    return router.in_flight(app.host_port, other_slot(app.live_slot)) > 0


def _has_just_switched(session: Session, app: App) -> bool:
    """Whether requests from before the switch may still be under way, and have their time yet."""
    live = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    if live is None or live.ended_at is None:
        return False
    return now() - live.ended_at < timedelta(seconds=app.drain_timeout_s)


def _remove(runtime: Runtime[WorkerSettings], tools: Tools, container: Container) -> None:
    """Remove a container, unless it has an owner by now: the one before it may have taken long.

    Nobody else writes while the slot it may have had is released: a worker that took the app then
    might switch to that very slot. After that nobody can want the container any more, however long
    it takes to end: a worker makes live what it has started itself.
    """
    with runtime.database.writing() as session:
        app = _named(session, _app_of(container))
        if _is_owned(session, tools.router, container, app):
            return
        if app is not None and app.live_slot is not None:
            tools.router.release(app.host_port, other_slot(app.live_slot))
    if app is not None and _is_fallback(container, app):
        # The worker died before it came to this.
        tools.engine.halt(container.id, grace_s=app.stop_grace_s)
        return
    logger.info(
        "removing the container %s, which nothing owns",
        container.name,
        extra={"action": "container_swept"},
    )
    tools.engine.stop(container.id, grace_s=GRACE_S if app is None else app.stop_grace_s)


def _named(session: Session, name: str) -> App | None:
    return session.exec(select(App).where(App.name == name)).first()


def _exists(runtime: Runtime[WorkerSettings], name: str) -> bool:
    with runtime.database.reading() as session:
        return session.exec(select(App.id).where(App.name == name)).first() is not None


def sweep_images(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove the images that no release needs: past their keep, or built by who was then killed.

    Each is looked up again when its turn comes, as the ones before may have taken long. Of what is
    asked for after that look, the image is gone before it is missed: a worker has to take the
    deployment and to fetch the commit before it asks whether there is an image of it.
    """
    images = tools.engine.images()
    for image in _outdated(runtime, images):
        if _outdated(runtime, [image]):
            logger.info("removing the image %s", image.id, extra={"action": "image_swept"})
            _untag_all(tools.engine, [image])


def _outdated(runtime: Runtime[WorkerSettings], images: Sequence[Image]) -> list[Image]:
    """Choose the images that belong to apps with nothing to deploy, and to no release of theirs."""
    with runtime.database.reading() as session:
        kept = {app.name: _kept_images(session, app) for app in _idle_apps(session)}
    return [image for image in images if _is_outdated(image, kept)]


def _is_outdated(image: Image, kept: Mapping[str, set[str]]) -> bool:
    needed = kept.get(image.labels.get(APP_LABEL, ""))
    return needed is not None and needed.isdisjoint({image.id, *image.tags})


def _idle_apps(session: Session) -> Sequence[App]:
    """List the apps that have nothing to deploy: of the others, any image may be needed."""
    leased = select(Lease.app_id)
    opened = select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES))
    statement = select(App).where(col(App.id).not_in(leased), col(App.id).not_in(opened))
    return session.exec(statement).all()


def _kept_images(session: Session, app: App) -> set[str]:
    kept = needed_releases(session, app)
    return {release.image for release in kept} | {release.image_id for release in kept}


def _untag_all(engine: Engine, images: Iterable[Image]) -> None:
    for image in images:
        for tag in image.tags or (image.id,):
            engine.remove_image(tag)
