"""Removes unowned containers, images and networks from the engine, but only those Keystone made.

The engine's items are always listed before the database is read: an item made in between is not on
the list, and a listed item was on record before it was made. A container or network that is not on
record is somebody else's, whatever its labels say. So is an image without a tag of ours, unless it
has no tag at all and is on record.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.adapters.ports import Engine, Router
from jobs.deployment.lease import is_free
from jobs.deployment.work import Tools
from jobs.errors import DockerError
from jobs.processes.runtime import Runtime
from jobs.reads.releases import needed_releases, settings_made_with
from jobs.reads.warm import is_warm
from jobs.records.engine_items import (
    Found,
    apps_on_record,
    needs_settling,
    on_record,
    settle,
)
from jobs.rules.container_values import Container, Image, other_slot
from jobs.rules.naming import APP_LABEL, network_name, tagged_app
from jobs.settings import WorkerSettings
from jobs.states import OPEN_STATES, ContainerState
from jobs.storage.models import App, Deployment, ItemKind, Lease, now

logger = logging.getLogger(__name__)

GRACE_S = 10  # between SIGTERM and SIGKILL, for a container whose app was removed


def sweep_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove containers that neither serve nor are being deployed, and what removed apps left."""
    found = _find(tools.engine, runtime.identity)
    _settle(runtime, found)
    with runtime.database.reading() as session:
        apps = {app.name: app for app in session.exec(select(App)).all()}
        unowned = [
            container
            for container in on_record(session, found.containers)
            if not _is_owned(session, tools.router, container, apps.get(_app_of(container)))
        ]
    for container in unowned:
        try:
            _remove(runtime, tools, container)
        except DockerError as exc:
            # The next round retries; remove the other containers meanwhile.
            logger.warning("%s", exc, extra={"action": "container_left"})
    _clear_after_removed_apps(runtime, tools.engine, found, apps.keys())


def _find(engine: Engine, identity: str) -> Found:
    containers, images = engine.containers(), engine.images()
    apps = [labels[APP_LABEL] for labels in engine.networks()]
    return Found(containers, images, {network_name(identity, app): app for app in apps})


def _settle(runtime: Runtime[WorkerSettings], found: Found) -> None:
    """Update the records; take the write lock only if there is something to write."""
    with runtime.database.reading() as session:
        if not needs_settling(session, found):
            return
    with runtime.database.writing() as session:
        settle(session, found)


def _clear_after_removed_apps(
    runtime: Runtime[WorkerSettings], engine: Engine, found: Found, apps: Collection[str]
) -> None:
    with runtime.database.reading() as session:
        networks = set(apps_on_record(session, ItemKind.NETWORK).values())
        images = _references(session, runtime.identity, found.images)
    gone = {*networks, *(image.app for image in images)}.difference(apps)
    for name in gone:
        # Stopping the containers may have taken long: there may be an app of this name again.
        if _exists(runtime, name):
            continue
        if name in networks:
            engine.remove_network(network_name(runtime.identity, name))
        for image in images:
            if image.app == name:
                engine.remove_image(image.reference)


def _app_of(container: Container) -> str:
    return container.labels.get(APP_LABEL, "")


def _is_owned(session: Session, router: Router, container: Container, app: App | None) -> bool:
    """Whether a container serves, drains, is the fallback, or its app's lease is held.

    The fallback is stopped, unless it is kept warm.
    """
    if app is None:
        return False
    # The holder of an app's lease is responsible for all of the app's containers.
    is_live = container.id == app.live_container_id
    is_stopped = container.state is not ContainerState.RUNNING
    is_ready = _is_fallback(container, app) and (is_stopped or is_warm(app))
    return (
        is_live
        or is_ready
        or not is_free(session, app.id or 0)
        or _drains(session, router, container, app)
    )


def _is_fallback(container: Container, app: App) -> bool:
    """Whether a container is kept until the live one has passed its trial, or warm."""
    return container.id == app.fallback_container_id


def _drains(session: Session, router: Router, container: Container, app: App) -> bool:
    """Whether the container before the live one still has requests in flight, and time left."""
    settings = settings_made_with(session, app, container.labels)
    if not _has_just_switched(session, app, within_s=settings.drain_timeout_s):
        return False
    return router.in_flight(app.host_port, other_slot(app.live_slot)) > 0


def _has_just_switched(session: Session, app: App, *, within_s: int) -> bool:
    """Whether the drain time of requests from before the switch is not over yet."""
    live = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    if live is None or live.ended_at is None:
        return False
    return now() - live.ended_at < timedelta(seconds=within_s)


def _remove(runtime: Runtime[WorkerSettings], tools: Tools, container: Container) -> None:
    """Remove a container unless it has an owner by now: the previous removal may have been slow.

    This holds the write lock while it detaches the slot that the container may have had: otherwise
    a worker could take the app and switch to that very slot. After that no worker needs the
    container, however long it takes to stop: a worker only makes live what it started itself.
    """
    with runtime.database.writing() as session:
        app = _named(session, _app_of(container))
        if _is_owned(session, tools.router, container, app):
            return
        grace_s = _grace_s(session, app, container)
        if app is not None and app.live_slot is not None:
            tools.router.detach(app.host_port, other_slot(app.live_slot))
    if app is not None and _is_fallback(container, app):
        # The worker died before it stopped the container, or the container was warm until now.
        tools.engine.halt(container.id, grace_s=grace_s)
        return
    logger.info(
        "removing the container %s, which nothing owns",
        container.name,
        extra={"action": "container_swept"},
    )
    tools.engine.stop(container.id, grace_s=grace_s)


def _grace_s(session: Session, app: App | None, container: Container) -> int:
    if app is None:
        return GRACE_S
    return settings_made_with(session, app, container.labels).stop_grace_s


def _named(session: Session, name: str) -> App | None:
    return session.exec(select(App).where(App.name == name)).first()


def _exists(runtime: Runtime[WorkerSettings], name: str) -> bool:
    with runtime.database.reading() as session:
        return session.exec(select(App.id).where(App.name == name)).first() is not None


@dataclass(frozen=True)
class _ImageName:
    """The reference to remove an image by: a tag of ours or, when it has no tag at all, its id."""

    app: str
    reference: str
    image_id: str


def _references(session: Session, identity: str, images: Iterable[Image]) -> list[_ImageName]:
    """List our tags, and the untagged images that are on record as ours."""
    built = apps_on_record(session, ItemKind.IMAGE)
    found = []
    for image in images:
        tags = [(tagged_app(identity, tag), tag) for tag in image.tags]
        named = tags or [(built.get(image.id), image.id)]
        found += [_ImageName(app, name, image.id) for app, name in named if app]
    return found


def sweep_images(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Remove the images that no release needs: outdated, or built by a worker that was killed.

    Each image is checked again right before its removal, because the previous ones may have taken
    long. A deployment queued after that check cannot lose its image halfway: its worker first takes
    the lease and fetches the commit before it asks for the image, which is removed by then.
    """
    found = tools.engine.images()
    with runtime.database.reading() as session:
        images = _references(session, runtime.identity, found)
    for image in _outdated(runtime, images):
        if _outdated(runtime, [image]):
            logger.info("removing the image %s", image.image_id, extra={"action": "image_swept"})
            tools.engine.remove_image(image.reference)


def _outdated(runtime: Runtime[WorkerSettings], images: Sequence[_ImageName]) -> list[_ImageName]:
    """Choose the images of idle apps that no needed release of the app uses."""
    with runtime.database.reading() as session:
        kept = {app.name: _kept_images(session, app) for app in _idle_apps(session)}
    return [image for image in images if _is_outdated(image, kept)]


def _is_outdated(image: _ImageName, kept: Mapping[str, set[str]]) -> bool:
    needed = kept.get(image.app)
    return needed is not None and needed.isdisjoint({image.reference, image.image_id})


def _idle_apps(session: Session) -> Sequence[App]:
    """List the apps with nothing to deploy: the others may need any of their images."""
    leased = select(Lease.app_id)
    opened = select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES))
    statement = select(App).where(col(App.id).not_in(leased), col(App.id).not_in(opened))
    return session.exec(statement).all()


def _kept_images(session: Session, app: App) -> set[str]:
    kept = needed_releases(session, app)
    return {release.image for release in kept} | {release.image_id for release in kept}
