"""Keeping with each app what Docker says of its live container."""

from sqlmodel import col, select

from jobs.adapters.ports import Container
from jobs.models import App
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings
from jobs.states import ContainerState
from jobs.work import Tools


def look_at_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Look at every live container and note what has changed."""
    with runtime.database.reading() as session:
        live = session.exec(select(App).where(col(App.live_container_id).is_not(None))).all()
    by_id = {container.id: container for container in tools.engine.containers()}
    for app in live:
        gone = Container(id=app.live_container_id or "", state=ContainerState.MISSING)
        note_container(runtime, app, by_id.get(gone.id, gone))


def note_container(runtime: Runtime[WorkerSettings], seen: App, found: Container) -> None:
    """Keep how an app's live container is, unless another one went live meanwhile."""
    reason = describe(found)
    if (seen.container_state, seen.container_reason) == (found.state, reason):
        return
    with runtime.database.writing() as session:
        app = session.get(App, seen.id)
        if app is not None and app.live_container_id == seen.live_container_id:
            app.container_state = found.state
            app.container_reason = reason


def describe(container: Container) -> str:
    """Say in a sentence what is wrong with a live container; empty when nothing is."""
    match container.state:
        case ContainerState.RUNNING if container.health == "unhealthy":
            return "its container is unhealthy, says the image's own health check"
        case ContainerState.RUNNING:
            return ""
        case ContainerState.MISSING:
            return "its container does not exist any more; deploy again to replace it"
        case ContainerState.RESTARTING:
            return f"its container {container}, again and again ({container.restarts} restarts)"
        case ContainerState.EXITED:
            return f"its container {container}"
