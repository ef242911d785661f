"""Stores with each app the state that Docker reports for its live container."""

import time
from datetime import datetime, timedelta

from sqlmodel import col, select

from jobs.deployment.work import Tools
from jobs.duties.trials import forget_needless_fallbacks, judge_trial
from jobs.processes.runtime import Runtime
from jobs.records.watched import note_live_container
from jobs.rules.container_values import STEADY_AFTER_MIN, Container, container_words
from jobs.settings import WorkerSettings
from jobs.states import ContainerState
from jobs.storage.models import App, Release, now

# How long one call follows events: short, so that the watcher stops soon when it is told to.
FOLLOWS_S = 2.0
# The engine usually restarts a container at once: wait, so as not to record the end alone.
SETTLES_WITHIN_S = 0.3
# A container that crashes seconds after each start is seen running most of the time, so the number
# of restarts shows the crash loop.
FEWEST_RESTARTS = 3


def look_at_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Inspect every live container, record changes, and correct the engine's restart policies."""
    with runtime.database.reading() as session:
        live = session.exec(
            select(App, Release).join(Release, col(App.live_release_id) == Release.id)
        ).all()
    by_id = {container.id: container for container in tools.engine.containers()}
    for app, release in live:
        gone = Container(id=app.live_container_id or "", state=ContainerState.MISSING)
        found = by_id.get(gone.id, gone)
        note_container(runtime, app, found)
        judge_trial(runtime, tools, app, found)
        wanted = release.container.restart
        # A worker sets the restart policy after the switch. If it or the engine died before that,
        # the container may have ended since, and nothing would restart it.
        if found.state is not ContainerState.MISSING and found.restart != wanted:
            tools.engine.keep_running(found.id, wanted)
    forget_needless_fallbacks(runtime)


def follow_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Follow the engine's events for `FOLLOWS_S`, and inspect each live container they name."""
    for container_id in tools.engine.changes(within_s=FOLLOWS_S):
        with runtime.database.reading() as session:
            serves = select(App).where(App.live_container_id == container_id)
            app = session.exec(serves).first()
        if app is not None:
            time.sleep(SETTLES_WITHIN_S)
            found = tools.engine.inspect(container_id)
            note_container(runtime, app, found)
            judge_trial(runtime, tools, app, found)


def note_container(runtime: Runtime[WorkerSettings], seen: App, found: Container) -> None:
    """Store the state of an app's live container, unless another one went live meanwhile."""
    reason, restarts = _trouble(found, now())
    known = (seen.container_state, seen.container_reason, seen.container_restarts)
    if known == (found.state, reason, restarts):
        return
    with runtime.database.writing() as session:
        note_live_container(session, seen, found.state, reason, restarts)


def describe(container: Container, *, at: datetime | None = None) -> str:
    """Describe in a sentence what is wrong with a live container; empty when nothing is.

    Args:
        container: the container, as the engine describes it.
        at: the time of that description; None: now.
    """
    return container_words(container.state, *_trouble(container, at or now()))


def _trouble(container: Container, at: datetime) -> tuple[str, int | None]:
    """Return what is wrong, and the number of restarts to mention; see `container_words`."""
    match container.state:
        case ContainerState.RUNNING if container.health == "unhealthy":
            return "its container is unhealthy, says the image's own health check", None
        case ContainerState.RUNNING if is_crash_looping(container, at):
            return "its container ends again and again", container.restarts
        case ContainerState.RUNNING:
            return "", None
        case ContainerState.MISSING:
            return "its container does not exist any more; deploy again to replace it", None
        case ContainerState.RESTARTING:
            return f"its container {container}, again and again", container.restarts
        case ContainerState.EXITED:
            return f"its container {container}", None


def is_crash_looping(container: Container, at: datetime) -> bool:
    """Whether the engine has restarted a running container repeatedly, and recently.

    One inspection suffices: the engine counts the restarts and reports the last start. It resets
    its count when the engine itself restarts or somebody starts the container by hand.
    """
    if container.restarts < FEWEST_RESTARTS or not container.started_at:
        return False
    return at - datetime.fromisoformat(container.started_at) < timedelta(minutes=STEADY_AFTER_MIN)
