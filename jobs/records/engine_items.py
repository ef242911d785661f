"""Records of the items that Keystone makes on the Docker Engine.

Names and labels can be copied, records cannot. So an item without a record is never removed. A row
is written before its item is made, so that a worker may be killed at any point. The row is removed
only some time after the item was last seen, because a request of a killed worker may still be on
its way to the engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, select

from jobs.rules.container_values import Container, Image
from jobs.rules.naming import APP_LABEL, network_name
from jobs.storage.models import App, EngineItem, Identity, ItemKind, now

# Longer than any call to the engine may take, including the engine's work after we disconnect.
KEPT_UNSEEN = timedelta(minutes=15)

Key = tuple[ItemKind, str]


@dataclass(frozen=True)
class Found:
    """The items on the engine under our names, listed before the database is read."""

    containers: Sequence[Container]
    images: Sequence[Image]
    networks: Mapping[str, str]  # each network's app, by the network's name

    @property
    def keys(self) -> set[Key]:
        """The keys of the records of these items."""
        return {
            *((ItemKind.CONTAINER, container.name) for container in self.containers),
            *((ItemKind.IMAGE, image.id) for image in self.images),
            *((ItemKind.NETWORK, name) for name in self.networks),
        }


def note_making(session: Session, identity: str, app: str, container: str) -> None:
    """Record a container and the app's network before they are made."""
    _note(session, ItemKind.NETWORK, network_name(identity, app), app)
    _note(session, ItemKind.CONTAINER, container, app)


def note_made(session: Session, container: Container) -> None:
    """Add the engine's id to a container's record, so that it matches no other container."""
    if row := session.get(EngineItem, (ItemKind.CONTAINER, container.name)):
        row.engine_id = container.id


def note_image(session: Session, app: str, image_id: str) -> None:
    """Record an image that was built for an app."""
    _note(session, ItemKind.IMAGE, image_id, app)


def _note(session: Session, kind: ItemKind, name: str, app: str) -> None:
    row = session.get(EngineItem, (kind, name)) or EngineItem(kind=kind, name=name, app=app)
    row.app, row.engine_id, row.made_at = app, None, now()
    session.add(row)


def on_record(session: Session, containers: Iterable[Container]) -> list[Container]:
    """Give those of the containers that Keystone has made."""
    rows = _rows(session, ItemKind.CONTAINER)
    return [each for each in containers if (row := rows.get(each.name)) and _is_of(row, each)]


def _is_of(row: EngineItem, container: Container) -> bool:
    # A record without an id: the worker was killed before it added the id, or is about to add it.
    return row.engine_id in {None, container.id}


def apps_on_record(session: Session, kind: ItemKind) -> dict[str, str]:
    """Give the app of each recorded item of a kind, by the item's name."""
    return {name: row.app for name, row in _rows(session, kind).items()}


def _rows(session: Session, kind: ItemKind) -> dict[str, EngineItem]:
    found = session.exec(select(EngineItem).where(EngineItem.kind == kind)).all()
    return {row.name: row for row in found}


def needs_settling(session: Session, found: Found) -> bool:
    """Whether `settle` would change anything."""
    return session.get_one(Identity, 1).adopts_items or bool(_unseen(session, found))


def settle(session: Session, found: Found) -> None:
    """Update the records to match the items found, as far as that is certain."""
    identity = session.get_one(Identity, 1)
    if identity.adopts_items:
        _adopt(session, found)
        identity.adopts_items = False
    for row in _unseen(session, found):
        session.delete(row)


def _adopt(session: Session, found: Found) -> None:
    """Record the items made by an older Keystone, or after the backup that was restored.

    Only names and labels identify these items, which proves little; so it is done only once.
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
    """List the records whose items have been gone long enough, except those that an app needs."""
    kept = session.exec(select(App.live_container_id, App.fallback_container_id)).all()
    needed = {container for pair in kept for container in pair if container}
    old = select(EngineItem).where(EngineItem.made_at < now() - KEPT_UNSEEN)
    seen = found.keys
    return [
        row
        for row in session.exec(old).all()
        if (row.kind, row.name) not in seen and row.engine_id not in needed
    ]
