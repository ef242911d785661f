"""Ends warm containers when their time is over, and tells a restarted router of the others.

A warm container is the fallback of its app, still running. When it is warm no longer, the sweep
stops it, or removes it if no trial needs it.
"""

import logging
from datetime import timedelta

from sqlmodel import select

from jobs.adapters.ports import Engine, Router
from jobs.deployment.lease import is_free
from jobs.deployment.work import Tools
from jobs.processes.runtime import Runtime
from jobs.reads.warm import is_due, warm_apps, warm_route, warm_routes
from jobs.records.warm import end_warmth
from jobs.settings import WorkerSettings
from jobs.states import ContainerState, Restart
from jobs.storage.models import App, now

logger = logging.getLogger(__name__)

# The router asks for no more old assets then. HAProxy does not count the requests of one app for
# them, but files are short requests, and the container gets time to stop after that, too.
FINISHED_WITHIN = timedelta(seconds=10)


def end_warm_containers(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """End the warm containers whose time is over, and those that have ended by themselves."""
    with runtime.database.reading() as session:
        seen = warm_apps(session)
    if not seen:
        return
    running = {
        container.id: container
        for container in tools.engine.containers()
        if container.state is ContainerState.RUNNING
    }
    for app in seen:
        container = running.get(app.fallback_container_id or "")
        if container is None:
            _end(runtime, tools.router, app, "its container has ended")
        elif is_due(app, now() - FINISHED_WITHIN):
            _end(runtime, tools.router, app, "its time is over")
        elif container.restart != Restart.NEVER:
            _keep_from_restarting(runtime, tools.engine, app)


def _end(runtime: Runtime[WorkerSettings], router: Router, seen: App, why: str) -> None:
    """End what an app keeps warm."""
    with runtime.database.writing() as session:
        app = _same(session.get(App, seen.id), seen)
        if app is None or not is_free(session, app.id or 0):
            return
        # Under the write lock: no worker can take the app, and warm another one, meanwhile.
        router.cool(app.host_port)
        end_warmth(app)
    logger.info(
        "%s keeps no container warm now: %s",
        seen.name,
        why,
        extra={"action": "warmth_ended", "app": seen.name},
    )


def _same(app: App | None, seen: App) -> App | None:
    """Return the app if it still keeps the same container warm, for no longer than before."""
    if app is None:
        return None
    now_kept = (app.fallback_container_id, app.warm_until)
    return app if now_kept == (seen.fallback_container_id, seen.warm_until) else None


def _keep_from_restarting(runtime: Runtime[WorkerSettings], engine: Engine, seen: App) -> None:
    """Take the restart policy from a container whose worker died before it could."""
    with runtime.database.reading() as session:
        app = _same(session.get(App, seen.id), seen)
        is_ours = app is not None and is_free(session, app.id or 0)
    # A worker that makes the container live meanwhile sets its policy later, as its last step.
    if is_ours and seen.fallback_container_id:
        engine.keep_running(seen.fallback_container_id, Restart.NEVER)


def restore_old_assets(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Have the router ask exactly the warm containers for old assets."""
    with runtime.database.reading() as session:
        wanted = warm_routes(session)
    found = tools.router.warmed()
    for port in wanted.keys() | found.keys():
        if found.get(port) != wanted.get(port):
            _put_right(runtime, tools.router, port)


def _put_right(runtime: Runtime[WorkerSettings], router: Router, port: int) -> None:
    """Make one port match the current database, under the write lock like `restore_routes`."""
    with runtime.database.writing() as session:
        app = session.exec(select(App).where(App.host_port == port)).first()
        if app is not None and not is_free(session, app.id or 0):
            return
        warm = warm_route(session, app) if app is not None else None
        if warm is None:
            router.cool(port)
        else:
            router.warm(warm)
