"""Repairs what a crash left behind, and leaves everything else alone.

Every few seconds: enqueue forgotten deployments, take back the leases of dead workers, remove
containers and images that no deployment owns, and compare the routes with the database.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.adapters.ports import Engine, Router
from jobs.deploy import remove_containers
from jobs.deployment.claims import first_in_line
from jobs.deployment.draining import drain
from jobs.deployment.lease import SecondLook, expired, holder_name, is_free
from jobs.deployment.work import Tools
from jobs.duties.containers import look_at_containers
from jobs.duties.mirrors import sweep_mirrors
from jobs.duties.sweep import sweep_containers, sweep_images
from jobs.duties.warm import end_warm_containers, restore_old_assets
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
from jobs.states import DeploymentState, Lane, StepName
from jobs.storage.database import Database
from jobs.storage.models import App, Deployment, Lease, Step, now

logger = logging.getLogger(__name__)

Part = Callable[[Runtime[WorkerSettings], Tools], None]

# The process that made a younger deployment is about to enqueue it itself.
FORGOTTEN_AFTER = timedelta(seconds=3)
# These steps touch nothing but the mirror and the build cache.
REPEATABLE = frozenset({StepName.CHECKOUT, StepName.BUILD})
MOST_ATTEMPTS = 2
# An upper bound, because other deployments wait for their recovery, too.
DRAINED_WITHIN_S = 10.0


# --- Deployments -----------------------------------------------------------------------------


def wake_forgotten(runtime: Runtime[WorkerSettings], _tools: Tools) -> None:
    """Enqueue the deployments that are queued in the database but not in Redis."""
    in_quick_lane = runtime.queue.waiting([Lane.QUICK])
    in_any_lane = in_quick_lane | runtime.queue.waiting([Lane.BUILD])
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
    of_apps: dict[int, list[Deployment]] = {}
    for row in rows:
        of_apps.setdefault(row.app_id, []).append(row)
    for app_id in of_apps.keys() - busy:
        queued = of_apps[app_id]
        first = first_in_line(queued)
        # One wake-up per app is enough: the worker chooses among all queued deployments. But one in
        # the lane of builds may come late for a deployment that needs none.
        lane = first.trigger.lane
        woken = in_quick_lane if lane is Lane.QUICK else in_any_lane
        if woken.isdisjoint({row.id for row in queued}):
            runtime.queue.wake([first.id or 0], lane)


def take_back_leases(
    runtime: Runtime[WorkerSettings], tools: Tools, second_look: SecondLook
) -> None:
    """End or requeue the deployments whose lease holders are gone."""
    # Hold the leases under our own name: if we are killed meanwhile, others notice it at once.
    us = holder_name(os.getpid())
    with runtime.database.writing() as session:
        held_leases = [take_over(session, lease, us) for lease in expired(session, second_look)]
    for held in held_leases:
        try:
            _recover(runtime, tools, held)
        except LeaseLostError:
            logger.info("deployment %d was recovered elsewhere", held.deployment_id)
        except PlatformError as exc:
            # Release the lease: the next round finds it expired and tries again.
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
        # First restore the traffic: the worker may have died right after the switch.
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
        # If the engine does not answer, raise and retry later. If it answers but cannot remove the
        # container, do not block the app's next deployment: the sweep keeps retrying.
        engine.version()
        logger.warning("%s", exc, extra={"action": "container_left"})


def _lead_back(router: Router, app: App, *, drain_s: float) -> None:
    wanted, found = live_route(app), router.routes().get(app.host_port)
    if wanted is None and found is not None:
        router.close(app.host_port)
    elif wanted is not None and wanted != found:
        # On a port that the router does not listen on, no traffic can have moved.
        with suppress(PortNotServedError):
            router.switch(wanted)
            _finish_requests(router, wanted, within_s=min(drain_s, DRAINED_WITHIN_S))


def _finish_requests(router: Router, route: Route, *, within_s: float) -> None:
    """Drain and detach the slot that the route was switched back from."""
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
    """Make the router's routes match the database, except for apps whose lease is held."""
    with runtime.database.reading() as session:
        wanted = live_routes(session)
    found = tools.router.routes()
    for port in wanted.keys() | found.keys():
        if found.get(port) != wanted.get(port):
            _put_right(runtime, tools.router, port)


def _put_right(runtime: Runtime[WorkerSettings], router: Router, port: int) -> None:
    """Make the route of one port match the current database.

    This holds the write lock: otherwise a worker could take the app and switch the port meanwhile,
    and this would switch the port back to a container that has ended.
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
        # A port that another program holds must not stop the repair of the other routes.
        logger.warning("%s", exc, extra={"action": "route_not_restored"})


def live_routes(session: Session) -> dict[int, Route]:
    """Return the routes that the live containers need, by port."""
    routes = (live_route(app) for app in session.exec(select(App)).all())
    return {route.port: route for route in routes if route is not None}


def live_route(app: App) -> Route | None:
    """Return the route that an app's live container needs; None when nothing is live."""
    if app.live_slot is None or app.live_address is None:
        return None
    return Route(app.host_port, app.live_slot, app.live_address)


# --- The rounds ------------------------------------------------------------------------------

# Separate from the repairs: a container may be slow to stop, and no deployment should wait for it.
SWEEPS: tuple[Part, ...] = (end_warm_containers, sweep_containers, sweep_images, sweep_mirrors)


def repairs() -> tuple[Part, ...]:
    """Return the parts of a repair round; they share state between rounds (`SecondLook`)."""
    second_look = SecondLook()

    def leases(runtime: Runtime[WorkerSettings], tools: Tools) -> None:
        take_back_leases(runtime, tools, second_look)

    return (leases, wake_forgotten, restore_routes, restore_old_assets, look_at_containers)


def reconcile(runtime: Runtime[WorkerSettings], tools: Tools, parts: tuple[Part, ...]) -> None:
    """Run one round; a part that fails is retried in the next round."""
    for part in parts:
        try:
            part(runtime, tools)
        except PlatformError as exc:
            logger.warning("%s: %s", part.__name__, exc, extra={"action": "reconcile_failed"})
