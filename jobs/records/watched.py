"""Stores the watcher's observations: states of live containers, and the vitals."""

from sqlmodel import Session

from jobs.states import ContainerState
from jobs.storage.models import App, Vitals


def note_live_container(
    session: Session, seen: App, state: ContainerState, reason: str, restarts: int | None
) -> None:
    """Store the state of an app's live container, unless another one has gone live since."""
    app = session.get(App, seen.id)
    if app is not None and app.live_container_id == seen.live_container_id:
        app.container_state = state
        app.container_reason, app.container_restarts = reason, restarts


def keep_vitals(session: Session, found: Vitals) -> None:
    """Store the vitals, replacing the last ones."""
    session.merge(found)
