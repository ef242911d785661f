"""retire: drain and stop the old container, and remove images that nothing needs."""

from jobs.deployment.draining import drain
from jobs.deployment.plan import LiveContainer
from jobs.deployment.work import Work
from jobs.reads.releases import outdated_images
from jobs.rules.naming import shown_tag
from jobs.states import StepName
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
    router.detach(port, old.slot)
    if _is_fallback(work, old.container_id):
        work.tools.engine.halt(old.container_id, grace_s=old.settings.stop_grace_s)
        kept = "; it is kept until the new one has been up for a minute"
    else:
        work.tools.engine.stop(old.container_id, grace_s=old.settings.stop_grace_s)
        kept = ""
    work.say(STEP, f"the old container {old.container_id[:12]} has ended{kept}")


def _is_fallback(work: Work, container_id: str) -> bool:
    with work.reading() as session:
        return session.get_one(App, work.plan.app_id).fallback_container_id == container_id


def _drop_fallback(work: Work, serving: Serving) -> None:
    """Remove the previous fallback container: a newer one replaces it."""
    kept = work.plan.fallback
    if kept is None or kept == serving.container_id or _is_fallback(work, kept):
        return
    work.ensure_held()
    work.tools.engine.stop(kept, grace_s=0)


def _drop_images(work: Work) -> None:
    """Remove the images of outdated releases; those that a rollback needs stay."""
    with work.reading() as session:
        outdated = outdated_images(session, work.plan.app_id)
    there = {tag for image in work.tools.engine.images() for tag in image.tags}
    for tag in there.intersection(outdated):
        work.tools.engine.remove_image(tag)
        work.say(STEP, f"removed the image {shown_tag(tag)}")
