"""Putting right what a crash left behind, and leaving alone what is right.

Every few seconds: deployments nobody works on are woken up, the leases of dead workers are taken
back, containers and images no deployment owns are removed, routes are compared with the database.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.adapters.ports import Engine, Router
from jobs.deploy import remove_containers
from jobs.deployment.draining import drain
from jobs.deployment.lease import SecondLook, expired, holder_name, is_free
from jobs.deployment.work import Tools
from jobs.duties.containers import look_at_containers
from jobs.duties.mirrors import sweep_mirrors
from jobs.duties.sweep import sweep_containers, sweep_images
from jobs.errors import DockerError, LeaseLostError, PlatformError, PortNotServedError
from jobs.processes.runtime import Runtime
from jobs.reads.releases import settings_of_deployment
from jobs.records.deployments import (
    HeldLease,
    abandon,
    close_open_steps,
    ensure_lease,
    requeue,
    stop_asked,
)
from jobs.records.leases import give_back, let_go, take_over
from jobs.rules.container_values import Route, other_slot
from jobs.settings import WorkerSettings
from jobs.states import DeploymentState, StepName
from jobs.storage.database import Database
from jobs.storage.models import App, Deployment, Lease, Step, now

logger = logging.getLogger(__name__)

Part = Callable[[Runtime[WorkerSettings], Tools], None]

# Younger ones are on their way from the process that made them.
FORGOTTEN_AFTER = timedelta(seconds=3)
# Nothing outside the mirror and the build cache has been touched before these steps.
REPEATABLE = frozenset({StepName.CHECKOUT, StepName.BUILD})
MOST_ATTEMPTS = 2
# Others wait to be recovered, too.
DRAINED_WITHIN_S = 10.0


# --- Deployments -----------------------------------------------------------------------------


def wake_forgotten(runtime: Runtime[WorkerSettings], _tools: Tools) -> None:
    """Enqueue the deployments that are queued in the database and nowhere else."""
    waiting = runtime.queue.waiting()
    with runtime.database.reading() as session:
        busy = set(session.exec(select(Lease.app_id)).all())
        rows = session.exec(
            select(Deployment)
            .where(
                Deployment.state == DeploymentState.QUEUED,
                col(Deployment.queued_at) < now() - FORGOTTEN_AFTER,
            )
            .order_by(col(Deployment.id))
        ).all()
    # One wake-up an app is enough: whoever takes it chooses among all that is queued.
    woken = busy | {row.app_id for row in rows if row.id in waiting}
    forgotten: dict[int, int] = {}
    for row in rows:
        if row.app_id not in woken:
            forgotten.setdefault(row.app_id, row.id or 0)
    runtime.queue.wake(forgotten.values())


def take_back_leases(
    runtime: Runtime[WorkerSettings], tools: Tools, second_look: SecondLook
) -> None:
    """End or repeat what the holders of expired leases were doing."""
    # By our own name: should we be killed in the middle, others see at once that we are gone.
    us = holder_name(os.getpid())
    with runtime.database.writing() as session:
        held_leases = [take_over(session, lease, us) for lease in expired(session, second_look)]
    for held in held_leases:
        try:
            _recover(runtime, tools, held)
        except LeaseLostError:
            logger.info("deployment %d was recovered elsewhere", held.deployment_id)
        except PlatformError as exc:
            # Given back, the lease is found expired in the next round.
            with runtime.database.writing() as session:
                let_go(session, held)
            logger.warning(
                "deployment %d cannot be recovered now: %s",
                held.deployment_id,
                exc,
                extra={"action": "recovery_failed", "deployment": held.deployment_id},
            )


def _recover(runtime: Runtime[WorkerSettings], tools: Tools, held: HeldLease) -> None:
    with runtime.database.reading() as session:
        deployment = session.get_one(Deployment, held.deployment_id)
        app = session.get_one(App, held.app_id)
        made_with = settings_of_deployment(session, app, deployment)
    if deployment.state is not DeploymentState.SUCCESS:
        # First the traffic: the worker may have died just after it had switched.
        _lead_back(tools.router, app, drain_s=made_with.drain_timeout_s)
        _remove_what_it_made(tools.engine, runtime.database, held.deployment_id)
    with runtime.database.writing() as session:
        ensure_lease(session, held)
        _end_or_repeat(session, session.get_one(Deployment, held.deployment_id))
        give_back(session, held)


def _remove_what_it_made(engine: Engine, database: Database, deployment_id: int) -> None:
    try:
        remove_containers(engine, database, deployment_id)
    except DockerError as exc:
        # An engine that does not answer is waited for. One that does, and cannot remove it, must
        # not keep the app from its next deployment: the sweep will try again and again.
        engine.version()
        logger.warning("%s", exc, extra={"action": "container_left"})


def _lead_back(router: Router, app: App, *, drain_s: float) -> None:
    wanted, found = live_route(app), router.routes().get(app.host_port)
    if wanted is None and found is not None:
        router.close(app.host_port)
    elif wanted is not None and wanted != found:
        # Where the router does not listen, no traffic can have moved.
        with suppress(PortNotServedError):
            router.switch(wanted)
            _finish_requests(router, wanted, within_s=min(drain_s, DRAINED_WITHIN_S))


def _finish_requests(router: Router, route: Route, *, within_s: float) -> None:
    """Let the slot that a route was led back from answer what it was asked."""
    other = other_slot(route.slot)
    drain(router, route.port, other, within_s=within_s)
    router.detach(route.port, other)


def _end_or_repeat(session: Session, deployment: Deployment) -> None:
    if deployment.state is not DeploymentState.RUNNING:
        close_open_steps(session, deployment)
        return
    step = _last_step(session, deployment)
    where = f"in {step.name}" if step else "before its first step"
    logger.warning(
        "the worker of deployment %d died %s",
        deployment.id,
        where,
        extra={"action": "deployment_recovered", "deployment": deployment.id},
    )
    is_repeatable = step is None or step.name in REPEATABLE
    if stop_asked(deployment) is None and is_repeatable and deployment.attempts < MOST_ATTEMPTS:
        requeue(session, deployment)
        return
    abandon(session, deployment, f"the worker was killed {where}; deploy again to repeat it")


def _last_step(session: Session, deployment: Deployment) -> Step | None:
    return session.exec(
        select(Step).where(Step.deployment_id == deployment.id).order_by(col(Step.id).desc())
    ).first()


# --- Routes ----------------------------------------------------------------------------------


def restore_routes(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
    """Make the router do what the database says, except where a worker is at it."""
    with runtime.database.reading() as session:
        wanted = live_routes(session)
    found = tools.router.routes()
    for port in wanted.keys() | found.keys():
        if found.get(port) != wanted.get(port):
            _put_right(runtime, tools.router, port)


def _put_right(runtime: Runtime[WorkerSettings], router: Router, port: int) -> None:
    """Make one port do what the database says by now.

    Nobody else writes meanwhile: a worker that took the app just now would switch the port, and
    here it would be led back to a container that has ended.
    """
    with runtime.database.writing() as session:
        app = session.exec(select(App).where(App.host_port == port)).first()
        if app is not None and not is_free(session, app.id or 0):
            return
        route = live_route(app) if app is not None else None
        if route is not None:
            _restore(router, route)
        else:
            router.close(port)


def _restore(router: Router, route: Route) -> None:
    logger.info("restoring the route of port %d", route.port, extra={"action": "route_restored"})
    try:
        router.switch(route)
    except PortNotServedError as exc:
        # One port that another program has must not keep the others from being served.
        logger.warning("%s", exc, extra={"action": "route_not_restored"})


def live_routes(session: Session) -> dict[int, Route]:
    """Give the routes that the live containers ask for, by port."""
    routes = (live_route(app) for app in session.exec(select(App)).all())
    return {route.port: route for route in routes if route is not None}


def live_route(app: App) -> Route | None:
    """Give the route that an app's live container asks for; None when nothing is live."""
    if app.live_slot is None or app.live_address is None:
        return None
    return Route(app.host_port, app.live_slot, app.live_address)


# --- The rounds ------------------------------------------------------------------------------

# Apart: a container may take its time to end, and no deployment shall wait for it.
SWEEPS: tuple[Part, ...] = (sweep_containers, sweep_images, sweep_mirrors)


def repairs() -> tuple[Part, ...]:
    """Give the parts of a round of repairs, which remember what the round before has seen."""
    second_look = SecondLook()

    def leases(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
        take_back_leases(runtime, tools, second_look)

    return (leases, wake_forgotten, restore_routes, look_at_containers)


def reconcile(runtime: Runtime[WorkerSettings], tools: Tools, parts: tuple[Part, ...]) -> None:
    """Do one round; a part that fails is tried again in the next round."""
    for part in parts:
        try:
            part(runtime, tools)
        except PlatformError as exc:
            logger.warning("%s: %s", part.__name__, exc, extra={"action": "reconcile_failed"})
