"""switch: move the traffic to the new container, and check that it answers through the router."""

import logging
import time
from dataclasses import dataclass

from jobs.deployment.draining import drain
from jobs.deployment.plan import Candidate
from jobs.deployment.work import Work
from jobs.errors import HealthCheckError, LeaseLostError, RouterError
from jobs.records.deployments import Live, go_live
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.container_values import Container, Route, Warm
from jobs.rules.ip_addresses import is_everywhere
from jobs.states import Health, Restart, StepName
from jobs.steps.output import show_output
from jobs.steps.unhealthy import answer_words

logger = logging.getLogger(__name__)

STEP = StepName.SWITCH
ANSWER_WITHIN_S = 5.0
PAUSE_S = 0.01
# The statuses with which an app sends a visitor from HTTP to HTTPS.
TO_HTTPS = frozenset({301, 302, 307, 308})


@dataclass(frozen=True)
class Serving:
    """The container that has the traffic now, and its route."""

    route: Route
    container_id: str
    restart: Restart  # whether the engine restarts the container when it ends


def switch(work: Work, candidate: Candidate, container: Container) -> Serving:
    """Make the new container the live one, and the deployment a success.

    The database is written last: if the worker is killed before that, the old release is still the
    live one, and the reconciler moves the traffic back to it.

    Raises:
        HealthCheckError: the new container does not answer through the router; the traffic is
            back at the old one.
        RouterError: the router failed.
        StorageError: the database does not say which container is live; both keep running.
    """
    plan, wanted = work.plan, candidate.container
    work.ensure_held()
    route = Route(plan.host_port, plan.free_slot, f"{container.ip}:{wanted.port}")
    try:
        # Before the switch, so that there is no moment at which nobody has the old assets.
        _name_old_assets(work)
        work.tools.router.switch(route)
        _ensure_answer(work, wanted)
        live = Live(
            candidate.release_id, container.id, route.address, route.slot, container.restarts
        )
        work.record(go_live, live)
    except LeaseLostError:
        raise  # the new lease holder decides about the route now
    except Exception as exc:
        if not work.is_live():
            _lead_back(work, wanted)
            if isinstance(exc, HealthCheckError):
                show_output(work, STEP, container.id)
            raise
        logger.warning(
            "deployment %d is live; the answer of the database was lost",
            plan.deployment_id,
            exc_info=True,
            extra={"action": "answer_lost", "deployment": plan.deployment_id},
        )
    work.say(STEP, f"port {plan.host_port} now leads to {route.address}")
    return Serving(route, container.id, wanted.restart)


def _name_old_assets(work: Work) -> None:
    """Have the router ask the release that is replaced for its assets, once it is replaced.

    Until then the router still asks the one that is warm now, which a rollback may lead to.
    """
    plan = work.plan
    if plan.live is not None and plan.live.keeps_assets:
        paths = frozenset(plan.live.settings.asset_paths)
        warm = Warm(plan.host_port, plan.live.slot, plan.live.address, paths)
        work.tools.router.warm(warm)


def _ensure_answer(work: Work, wanted: ContainerSettings) -> None:
    if wanted.health is Health.NONE:
        return
    plan, request = work.plan, work.plan.health_request(wanted)
    address = "127.0.0.1" if is_everywhere(plan.app_bind) else plan.app_bind
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while True:
        result = work.tools.probe.look(address, plan.host_port, request, timeout_s=ANSWER_WITHIN_S)
        # The app's own port is served by HTTP, and the router tells the app so.
        if result.healthy or (request.is_https and result.status in TO_HTTPS):
            return
        if time.monotonic() > deadline:
            told = answer_words(work, request, result)
            raise HealthCheckError(
                f"it was healthy, but did not answer through the router: {told}",
                last_status=result.status,
            )
        work.stop.wait(PAUSE_S)


def _lead_back(work: Work, wanted: ContainerSettings) -> None:
    """Move the traffic back to the old release; `wanted` are the new release's settings."""
    live, port = work.plan.live, work.plan.host_port
    try:
        if live is None:
            work.tools.router.close(port)
        else:
            work.tools.router.switch(Route(port, live.slot, live.address))
            # The watcher soon warms the container that was warm before.
            work.tools.router.cool(port)
            work.say(STEP, "the traffic goes to the old release again")
            # Requests that the new container already serves finish before it is stopped.
            drain(
                work.tools.router,
                port,
                work.plan.free_slot,
                within_s=wanted.drain_timeout_s,
            )
            work.ensure_ours()
            work.tools.router.detach(port, work.plan.free_slot)
    except RouterError as exc:
        work.say(STEP, f"the route could not be put back now, the watcher will: {exc}")
