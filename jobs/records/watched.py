"""What the watcher has seen: how live containers are, and how the machine and the parts are."""

from sqlmodel import Session

from jobs.states import ContainerState
from jobs.storage.models import App, Vitals


def note_live_container(
    session: Session, seen: App, state: ContainerState, reason: str, restarts: int | None
) -> None:
    """Write how an app's live container is, unless another container went live meanwhile."""
    app = session.get(App, seen.id)
    if app is not None and app.live_container_id == seen.live_container_id:
        app.container_state = state
        app.container_reason, app.container_restarts = reason, restarts


def keep_vitals(session: Session, found: Vitals) -> None:
    """Write the vitals in the place of the last ones."""
    session.merge(found)
