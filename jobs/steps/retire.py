"""retire: drain the old container, stop it or keep it warm, and remove needless images."""

from jobs.deployment.draining import drain
from jobs.deployment.plan import LiveContainer
from jobs.deployment.work import Work
from jobs.reads.releases import outdated_images
from jobs.reads.warm import is_warm, warm_route
from jobs.rules.naming import shown_tag
from jobs.states import Restart, StepName
from jobs.steps.switch import Serving
from jobs.storage.models import App

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
    router, port = work.tools.router, work.plan.host_port
    if left := drain(
        router, port, old.slot, within_s=old.settings.drain_timeout_s, pause=work.stop.wait
    ):
        work.say(
            STEP, f"{left} requests did not end within {old.settings.drain_timeout_s} s and are cut"
        )
    work.ensure_held()
    # Cut what is left, tunnels too: their visitors come back to the new release.
    router.detach(port, old.slot)
    app = _app(work)
    is_kept = app.fallback_container_id == old.container_id
    if (old.keeps_assets or work.plan.warm is not None) and not (is_kept and is_warm(app)):
        router.cool(port)
    if not is_kept:
        work.tools.engine.stop(old.container_id, grace_s=old.settings.stop_grace_s)
        work.say(STEP, f"the old container {old.container_id[:12]} has ended")
    elif is_warm(app):
        _keep_warm(work, app, old)
    else:
        work.tools.engine.halt(old.container_id, grace_s=old.settings.stop_grace_s)
        kept = "it is kept until the new one has been up for a minute"
        work.say(STEP, f"the old container {old.container_id[:12]} has ended; {kept}")


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
    minutes = old.settings.warm_minutes
    work.say(STEP, f"the old container {old.container_id[:12]} is kept warm for {minutes} min")


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
