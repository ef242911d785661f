"""What Keystone has made on the Docker Engine, on record from before it is made until it is gone.

Names and labels can be copied, a record cannot: what is not on record is never removed. A row is
written before its thing is made, so a worker may be killed anywhere. It goes some time after the
thing was last seen, since a request of a killed worker may still be on its way to the engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, select

from jobs.rules.container_values import Container, Image
from jobs.rules.naming import APP_LABEL, network_name
from jobs.storage.models import App, EngineItem, Identity, ItemKind, now

# Longer than any call to the engine may take, its own work after we have hung up included.
KEPT_UNSEEN = timedelta(minutes=15)

Key = tuple[ItemKind, str]


@dataclass(frozen=True)
class Found:
    """What the engine has under our names, listed before the database is asked."""

    containers: Sequence[Container]
    images: Sequence[Image]
    networks: Mapping[str, str]  # the app of each, by the network's name

    @property
    def keys(self) -> set[Key]:
        """What the things found are on record as."""
        return {
            *((ItemKind.CONTAINER, container.name) for container in self.containers),
            *((ItemKind.IMAGE, image.id) for image in self.images),
            *((ItemKind.NETWORK, name) for name in self.networks),
        }


def note_making(session: Session, identity: str, app: str, container: str) -> None:
    """Put a container, and the app's network, on record before they are made."""
    _note(session, ItemKind.NETWORK, network_name(identity, app), app)
    _note(session, ItemKind.CONTAINER, container, app)


def note_made(session: Session, container: Container) -> None:
    """Add to a container's record its id on the engine: no other is taken for it from now on."""
    if row := session.get(EngineItem, (ItemKind.CONTAINER, container.name)):
        row.engine_id = container.id


def note_image(session: Session, app: str, image_id: str) -> None:
    """Put an image on record that was built for an app."""
    _note(session, ItemKind.IMAGE, image_id, app)


def _note(session: Session, kind: ItemKind, name: str, app: str) -> None:
    row = session.get(EngineItem, (kind, name)) or EngineItem(kind=kind, name=name, app=app)
    row.app, row.engine_id, row.made_at = app, None, now()
    session.add(row)


def on_record(session: Session, containers: Iterable[Container]) -> list[Container]:
    """Choose the containers that Keystone has made."""
    rows = _rows(session, ItemKind.CONTAINER)
    return [each for each in containers if (row := rows.get(each.name)) and _is_of(row, each)]


def _is_of(row: EngineItem, container: Container) -> bool:
    # Without an id the worker was killed before it could add it, or is about to.
    return row.engine_id in {None, container.id}


def apps_on_record(session: Session, kind: ItemKind) -> dict[str, str]:
    """Give the app of each thing of a kind, by the thing's name."""
    return {name: row.app for name, row in _rows(session, kind).items()}


def _rows(session: Session, kind: ItemKind) -> dict[str, EngineItem]:
    found = session.exec(select(EngineItem).where(EngineItem.kind == kind)).all()
    return {row.name: row for row in found}


def needs_settling(session: Session, found: Found) -> bool:
    """Whether `settle` would change anything."""
    return session.get_one(Identity, 1).adopts_items or bool(_unseen(session, found))


def settle(session: Session, found: Found) -> None:
    """Make the records fit what was found, as far as that is certain."""
    identity = session.get_one(Identity, 1)
    if identity.adopts_items:
        _adopt(session, found)
        identity.adopts_items = False
    for row in _unseen(session, found):
        session.delete(row)


def _adopt(session: Session, found: Found) -> None:
    """Put on record what an older Keystone has made, or one after the backup that was restored.

    Nothing but names and labels tells of those; which is why it is done once.
    """
    known = {(row.kind, row.name) for row in session.exec(select(EngineItem)).all()}
    for container in found.containers:
        app = container.labels[APP_LABEL]
        if (ItemKind.CONTAINER, container.name) not in known:
            _note(session, ItemKind.CONTAINER, container.name, app)
            note_made(session, container)
    for name, app in found.networks.items():
        if (ItemKind.NETWORK, name) not in known:
            _note(session, ItemKind.NETWORK, name, app)
    for image in found.images:
        if (ItemKind.IMAGE, image.id) not in known and image.tags:
            note_image(session, image.labels.get(APP_LABEL, ""), image.id)


def _unseen(session: Session, found: Found) -> list[EngineItem]:
    """List what has been gone for long enough to be gone for good; not what an app counts on."""
    kept = session.exec(select(App.live_container_id, App.fallback_container_id)).all()
    needed = {container for pair in kept for container in pair if container}
    old = select(EngineItem).where(EngineItem.made_at < now() - KEPT_UNSEEN)
    seen = found.keys
    return [
        row
        for row in session.exec(old).all()
        if (row.kind, row.name) not in seen and row.engine_id not in needed
    ]
