"""Handle a wake-up: claim the app, run its next deployment, and keep the lease alive meanwhile."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlmodel import Session

from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.git.source import GitSource
from jobs.adapters.haproxy.files import RouterFiles
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.runtime_api import MASTER_SOCKET
from jobs.adapters.http_probe import HttpProbe
from jobs.deploy import deploy
from jobs.deployment.claims import Claim, claim_next, next_in_line
from jobs.deployment.plan import Plan, read_plan
from jobs.deployment.work import Tools, Work
from jobs.errors import (
    ConfigurationError,
    HandedOverError,
    LeaseLostError,
    NotFoundError,
    StorageError,
)
from jobs.processes.logging import masking
from jobs.processes.runtime import Runtime
from jobs.reads.deployments import find_deployment
from jobs.records.deployments import HeldLease, begin, finish, has_begun_to_switch, stop_asked
from jobs.records.leases import let_go, renew
from jobs.rules.redaction import Redactor
from jobs.rules.stopping import StopSignal
from jobs.rules.variables import secrets_of
from jobs.settings import WorkerSettings
from jobs.states import EVERY_LANE, DeploymentState, Lane, StepName
from jobs.storage.deployment_log import DeploymentLog, log_path
from jobs.storage.models import Deployment
from jobs.system.watch_times import RENEW_EVERY_S

logger = logging.getLogger(__name__)

STOP_SEEN_WITHIN_S = 0.25


def real_tools(runtime: Runtime[WorkerSettings], *, router_patience_s: float = 0.0) -> Tools:
    """Open the real adapters for the Docker Engine, git, the router and HTTP probes.

    Args:
        router_patience_s: how long to wait for a router that died to be restarted.
    """
    settings = runtime.settings
    return Tools(
        engine=DockerEngine.from_environment(runtime.identity),
        source=GitSource(settings.mirrors_dir, allowed_schemes=settings.allowed_git_schemes),
        router=HAProxyRouter(
            settings.effective_router_socket,
            # A HAProxy of the operator's own has another master, if any.
            master=None if settings.router_socket else settings.socket_dir / MASTER_SOCKET,
            files=RouterFiles(settings.router_dir),
            patience_s=router_patience_s,
        ),
        probe=HttpProbe(),
    )


def dispatch(
    runtime: Runtime[WorkerSettings],
    tools: Tools,
    deployment_id: int,
    *,
    holder: str,
    lanes: Collection[Lane] = EVERY_LANE,
    is_leaving: Callable[[], bool] = lambda: False,
) -> None:
    """Run the next deployment of a deployment's app, unless a lease on the app is held.

    A deployment that is not for this worker's lanes is passed on to the workers of its own.

    Args:
        lanes: the lanes whose deployments this worker runs.
        is_leaving: whether this worker must stop and put its deployment back into the queue;
            called from another thread.
    """
    database = runtime.database
    try:
        with database.writing() as session:
            app_id = find_deployment(session, deployment_id).app_id
            claim = claim_next(session, app_id, holder, lanes)
            plan = None if claim is None else _begin(session, runtime, claim.held)
    except NotFoundError:
        logger.info("deployment %d is gone, with its app", deployment_id)
        return
    if claim is None:
        if EVERY_LANE.difference(lanes):
            _wake_next(runtime, app_id)
        return
    try:
        if plan is not None:
            _run(runtime, tools, claim, plan, is_leaving)
    finally:
        with database.writing() as session:
            let_go(session, claim.held)
    # Read after the lease is released: a deployment queued before that found the lease taken.
    _wake_next(runtime, app_id)


def _wake_next(runtime: Runtime[WorkerSettings], app_id: int) -> None:
    """Wake a worker for the app's next deployment, unless its lease is held."""
    with runtime.database.reading() as session:
        waiting = next_in_line(session, app_id)
    if waiting is not None:
        runtime.queue.wake([waiting.id or 0], waiting.trigger.lane)


def _run(
    runtime: Runtime[WorkerSettings],
    tools: Tools,
    claim: Claim,
    plan: Plan,
    is_leaving: Callable[[], bool],
) -> None:
    held = claim.held
    try:
        redact = Redactor(_secrets(plan))
        log = DeploymentLog(log_path(runtime.settings.logs_dir, held.deployment_id), redact)
    except StorageError as exc:
        # A deployment without a log cannot be followed, and a retry would not help.
        ended = {"action": "deployment_ended", "deployment": held.deployment_id}
        logger.warning("%s", exc, extra=ended)
        with runtime.database.writing() as session:
            finish(session, held, DeploymentState.ERROR, str(exc))
        return
    work = Work(plan, claim, tools, runtime.database, runtime.vault, log, StopSignal())
    if plan.attempt > 1:
        work.say(StepName.CHECKOUT, "begun again: the worker was killed during the earlier attempt")
    try:
        with masking(redact), kept_alive(work, is_leaving):
            deploy(work)
    except LeaseLostError as exc:
        logger.warning("%s", exc, extra={"action": "lease_lost", "deployment": held.deployment_id})
    finally:
        log.close()


def _begin(session: Session, runtime: Runtime[WorkerSettings], held: HeldLease) -> Plan | None:
    """Mark the deployment as running; None when its plan cannot be read, which ends it."""
    begin(session, held)
    try:
        return read_plan(session, runtime, held)
    except ConfigurationError as exc:
        # For example, the vault's key does not fit: a retry would not help.
        finish(session, held, DeploymentState.ERROR, str(exc))
    return None


def _secrets(plan: Plan) -> list[SecretStr]:
    token = [plan.remote.token] if plan.remote.token is not None else []
    return [*token, *secrets_of(plan.variables)]


@contextmanager
def kept_alive(work: Work, is_leaving: Callable[[], bool]) -> Iterator[None]:
    """Renew the lease while the block runs, and signal the work to stop when asked to."""
    over = threading.Event()
    thread = threading.Thread(
        target=_keep_alive, args=(work, over, is_leaving), name="lease", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


def _keep_alive(work: Work, over: threading.Event, is_leaving: Callable[[], bool]) -> None:
    looks_per_renewal = round(RENEW_EVERY_S / STOP_SEEN_WITHIN_S)
    look = 0
    while not over.wait(STOP_SEEN_WITHIN_S):
        look += 1
        try:
            if look % looks_per_renewal == 0:
                with work.database.writing() as session:
                    renew(session, work.held)
            _watch_for_stop(work, is_leaving=is_leaving())
        except LeaseLostError as exc:
            work.stop.set(exc)
            return
        except StorageError as exc:
            # The lease outlasts a few missed renewals; the next round tries again.
            logger.warning("the lease could not be renewed: %s", exc)


def _watch_for_stop(work: Work, *, is_leaving: bool) -> None:
    with work.database.reading() as session:
        row = session.get(Deployment, work.held.deployment_id)
        if row is None or row.state is not DeploymentState.RUNNING:
            return
        if (asked := stop_asked(row)) is not None:
            work.stop.set(asked)
            return
        why = _why_hand_over(row, is_leaving=is_leaving)
        if why and not has_begun_to_switch(session, work.held.deployment_id):
            work.stop.set(HandedOverError(why))


def _why_hand_over(row: Deployment, *, is_leaving: bool) -> str:
    if row.gives_way:
        return "a recovery must run first; this deployment begins again afterwards"
    return "the worker must stop; another one begins this deployment again" if is_leaving else ""
