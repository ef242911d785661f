"""retire: drain the old container, stop it or keep it warm, and remove needless images."""

from collections.abc import Callable
from contextlib import suppress

from sqlmodel import col, select

from jobs.deployment.draining import drain
from jobs.deployment.plan import LiveContainer
from jobs.deployment.work import Work
from jobs.reads.releases import outdated_images
from jobs.reads.warm import is_warm, warm_route
from jobs.rules.naming import shown_tag
from jobs.states import DeploymentState, Restart, StepName, Trigger
from jobs.steps.switch import Serving
from jobs.storage.models import App, Deployment

STEP = StepName.RETIRE


def retire(work: Work, serving: Serving) -> None:
    """Retire the release that the new one replaces.

    Raises:
        DockerError: the engine failed; the watcher removes what is left.
        RouterError: the router failed; the old container keeps running.
    """
    # If this worker was paused since the switch, another one may hold the app's lease now.
    work.ensure_held()
    # Only after the switch: a candidate that crashes must not be restarted, and this call must not
    # delay the switch.
    work.tools.engine.keep_running(serving.container_id, serving.restart)
    route = serving.route
    # A router that just restarted may have loaded the old route: fix that before stopping anything.
    if work.tools.router.routes().get(route.port) != route:
        work.ensure_held()
        work.tools.router.switch(route)
    if work.plan.live is not None:
        _end(work, work.plan.live)
    _drop_fallback(work, serving)
    _drop_images(work)


def _end(work: Work, old: LiveContainer) -> None:
    app, port = _app(work), work.plan.host_port
    is_kept = app.fallback_container_id == old.container_id
    if is_kept and is_warm(app):
        _keep_warm(work, app, old)
        return
    _drain(work, old)
    work.tools.router.detach(port, old.slot)
    if old.keeps_assets or work.plan.warm is not None:
        work.tools.router.cool(port)
    if is_kept:
        work.tools.engine.halt(old.container_id, grace_s=old.settings.stop_grace_s)
        kept = "; it is kept until the new one has been up for a minute"
    else:
        work.tools.engine.stop(old.container_id, grace_s=old.settings.stop_grace_s)
        kept = ""
    work.say(STEP, f"the old container {old.container_id[:12]} has ended{kept}")


def _drain(work: Work, old: LiveContainer, pause: Callable[[float], None] | None = None) -> int:
    """Wait for the old container's requests; return how many have to be cut."""
    within_s = old.settings.drain_timeout_s
    pause = pause or work.stop.wait
    left = drain(work.tools.router, work.plan.host_port, old.slot, within_s=within_s, pause=pause)
    if left:
        work.say(STEP, f"{left} requests did not end within {within_s} s and are cut")
    work.ensure_held()
    return left


def _keep_warm(work: Work, app: App, old: LiveContainer) -> None:
    """Let the old container run on for old assets and a rollback.

    The engine does not start it again when it ends: after a crash, or a restart of the engine, it
    is no better than a new one.
    """
    work.tools.engine.keep_running(old.container_id, Restart.NEVER)
    with work.reading() as session:
        warm = warm_route(session, app)
    if warm is not None:
        work.tools.router.warm(warm)
    elif work.plan.warm is not None:
        work.tools.router.cool(work.plan.host_port)
    minutes = old.settings.warm_minutes
    work.say(STEP, f"the old container {old.container_id[:12]} is kept warm for {minutes} min")

    def pause(seconds: float) -> None:
        work.stop.wait(seconds)
        if _is_asked_back(work):
            raise _AskedBackError

    with suppress(_AskedBackError):
        # Cut what is left, tunnels too: their visitors come back to the new release. Otherwise the
        # slot is left as it is: a request for an asset may just be on its way there.
        if _drain(work, old, pause):
            work.tools.router.detach(work.plan.host_port, old.slot)


class _AskedBackError(Exception):
    """A rollback waits: the old container's requests may as well go on."""


def _is_asked_back(work: Work) -> bool:
    with work.reading() as session:
        statement = select(Deployment.id).where(
            Deployment.app_id == work.plan.app_id,
            Deployment.state == DeploymentState.QUEUED,
            col(Deployment.trigger).in_([Trigger.ROLLBACK, Trigger.RECOVERY]),
        )
        return session.exec(statement.limit(1)).first() is not None


def _app(work: Work) -> App:
    with work.reading() as session:
        return session.get_one(App, work.plan.app_id)


def _drop_fallback(work: Work, serving: Serving) -> None:
    """End the previous fallback container: a newer one replaces it.

    If the newest one was no replacement, the previous one stays the fallback, but not warm: the
    new release has taken its slot in the router.
    """
    kept, warm = work.plan.fallback, work.plan.warm
    if kept is None or kept == serving.container_id:
        return
    # A stopped container has nothing left to finish.
    grace_s = warm.settings.stop_grace_s if warm is not None else 0
    work.ensure_held()
    if _app(work).fallback_container_id != kept:
        work.tools.engine.stop(kept, grace_s=grace_s)
    elif warm is not None:
        work.tools.engine.halt(kept, grace_s=grace_s)


def _drop_images(work: Work) -> None:
    """Remove the images of outdated releases; those that a rollback needs stay."""
    with work.reading() as session:
        outdated = outdated_images(session, work.plan.app_id)
    there = {tag for image in work.tools.engine.images() for tag in image.tags}
    for tag in there.intersection(outdated):
        work.tools.engine.remove_image(tag)
        work.say(STEP, f"removed the image {shown_tag(tag)}")
