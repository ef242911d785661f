"""The life cycle of a deployment. Only this module writes a deployment's state.

Every write by a worker carries the fence of its lease. Once another worker has the app's lease, the
first worker's writes are refused with LeaseLostError.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete
from sqlmodel import Session, col, select

from jobs.errors import (
    CancelledError,
    ConflictError,
    LeaseLostError,
    SupersededError,
)
from jobs.records.audit import Tag, note
from jobs.records.statuses import announce
from jobs.records.trials import begin_trial
from jobs.records.warm import keep_warm
from jobs.rules.actors import Actor
from jobs.rules.triggers import Order, compare
from jobs.states import (
    PUSHES,
    ContainerState,
    DeploymentState,
    Kind,
    StepName,
    StepState,
    ensure_transition,
)
from jobs.storage.models import App, Deployment, Lease, Release, Step, now


@dataclass(frozen=True)
class HeldLease:
    """The lease that a worker holds on an app, identified by its fence."""

    app_id: int
    deployment_id: int
    fence: int


def app_now(session: Session, app_id: int) -> App:
    """Read the app's row again in this transaction, replacing values that were read before."""
    statement = select(App).where(App.id == app_id)
    return session.exec(statement.execution_options(populate_existing=True)).one()


def ensure_lease(session: Session, held: HeldLease) -> None:
    """Check that the lease is still ours; in a writing transaction it stays ours to the end.

    Raises:
        LeaseLostError: another worker holds the lease, or nobody does.
    """
    lease = session.exec(select(Lease).where(Lease.app_id == held.app_id)).first()
    if lease is None or lease.fence != held.fence:
        raise LeaseLostError(f"the lease of deployment {held.deployment_id} was taken over")


def begin(session: Session, held: HeldLease) -> Deployment:
    """Mark the deployment as running."""
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    _move(deployment, DeploymentState.RUNNING)
    deployment.gives_way = False
    deployment.started_at = now()
    deployment.attempts += 1
    app = session.get_one(App, held.app_id)
    # It was queued as the app's first deployment, but another has become live in the meantime.
    if deployment.kind is Kind.INITIAL and app.live_release_id:
        deployment.kind = Kind.UPDATE
    announce(session, deployment, "running")
    return deployment


def record_commit(
    session: Session, held: HeldLease, *, sha: str, message: str, author: str
) -> Deployment:
    """Store the commit that the deployment's ref was resolved to."""
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    is_news = not deployment.commit_sha
    deployment.commit_sha = sha
    # The payload's message was signed, so it takes precedence over the repository's.
    deployment.commit_message = deployment.commit_message or message[:2000]
    deployment.author = deployment.author or author[:200]
    if is_news:
        announce(session, deployment, "running")
    return deployment


def start_step(session: Session, held: HeldLease, name: StepName) -> None:
    """Store the start of a step; a repeated step replaces the earlier one.

    Raises:
        CancelledError, SupersededError: the deployment was told to stop.
    """
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    if (asked := stop_asked(deployment)) is not None:
        raise asked
    step = _step(session, held.deployment_id, name)
    if step is not None:
        session.delete(step)
        session.flush()
    session.add(Step(deployment_id=held.deployment_id, name=name, state=StepState.RUNNING))


def end_step(
    session: Session, held: HeldLease, name: StepName, state: StepState, reason: str = ""
) -> None:
    """Store the end of a step, unless the end of the deployment has already closed it."""
    ensure_lease(session, held)
    step = _step(session, held.deployment_id, name)
    if step is not None and step.ended_at is None:
        step.state = state
        step.reason = reason[:1000]
        step.ended_at = now()


def record_release(session: Session, held: HeldLease, release: Release) -> Release:
    """Store a new release with the app's next number, and link the deployment to it."""
    ensure_lease(session, held)
    app = session.get_one(App, held.app_id)
    app.last_release += 1
    release.number = app.last_release
    session.add(release)
    session.flush()
    session.get_one(Deployment, held.deployment_id).release_id = release.id
    return release


@dataclass(frozen=True)
class Live:
    """The release and container that serve an app from now on."""

    release_id: int
    container_id: str
    address: str  # "10.201.0.2:8000"
    slot: str
    restarts: int = 0  # the engine's count so far, above 0 only for a container that served before


def go_live(session: Session, held: HeldLease, live: Live) -> None:
    """Make the new container live and the deployment successful, in one transaction.

    The previous release is kept as the fallback until the new one has passed its trial, or longer
    if it is kept warm.

    Raises:
        CancelledError: a person cancelled the deployment, and was told that it would stop.
        SupersededError: a newer push replaces the deployment.
    """
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    if (asked := stop_asked(deployment)) is not None:
        raise asked
    app = session.get_one(App, held.app_id)
    before = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    was_withdrawn = before is not None and before.state is DeploymentState.FAILURE
    begin_trial(app, live.release_id, was_withdrawn=was_withdrawn, restarts=live.restarts)
    keep_warm(session, app)
    app.live_deployment_id = held.deployment_id
    app.live_release_id = live.release_id
    app.live_container_id = live.container_id
    app.live_address = live.address
    app.live_slot = live.slot
    app.container_state = ContainerState.RUNNING
    app.container_reason, app.container_restarts = "", None
    _end(session, deployment, DeploymentState.SUCCESS, deployment.reason)


def finish(
    session: Session, held: HeldLease, state: DeploymentState, reason: str = ""
) -> Deployment:
    """End the deployment in the given state, or as cancelled or superseded if told to stop."""
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    _end_without_success(session, deployment, state, reason)
    return deployment


def withdraw(session: Session, deployment: Deployment, reason: str) -> None:
    """Turn a success that did not last into a failure; keep the time of its end."""
    _move(deployment, DeploymentState.FAILURE)
    deployment.reason = reason[:1000]
    session.add(deployment)
    announce(session, deployment, _words(deployment))


def supersede(session: Session, deployment: Deployment, reason: str) -> None:
    """End a deployment as superseded, for example by a newer push."""
    _end(session, deployment, DeploymentState.SUPERSEDED, reason)


def cancel(session: Session, deployment: Deployment, actor: Actor) -> Deployment:
    """Cancel a deployment: a queued one at once, a running one once its worker notices.

    Raises:
        ConflictError: the deployment is already over.
    """
    session.refresh(deployment)
    if deployment.state.is_over:
        raise ConflictError(f"deployment {deployment.id} is over already: {deployment.state}")
    deployment.cancelled_by = str(actor)
    if deployment.state is DeploymentState.QUEUED:
        _end(session, deployment, DeploymentState.CANCELLED, f"cancelled by {actor}")
    note(session, Tag.DEPLOYMENT_CANCELLED, actor, f"deployment:{deployment.id}")
    session.add(deployment)
    return deployment


def replace_running(session: Session, app: App, newer: Deployment) -> None:
    """Tell a running push of the same ref to stop if the new push is certainly newer.

    A deployment that has begun to switch is almost live, so the newer one waits for it.
    """
    statement = select(Deployment).where(
        Deployment.app_id == app.id,
        Deployment.state == DeploymentState.RUNNING,
        Deployment.ref == newer.ref,
        col(Deployment.trigger).in_(PUSHES),
    )
    for running in session.exec(statement).all():
        is_newer = compare(newer.pushed_at, running.pushed_at) is Order.NEWER
        if is_newer and not has_begun_to_switch(session, running.id or 0):
            running.replaced_by = newer.number


def has_begun_to_switch(session: Session, deployment_id: int) -> bool:
    """Whether a deployment has begun to switch traffic; it is then completed, not interrupted."""
    return _step(session, deployment_id, StepName.SWITCH) is not None


def stop_asked(deployment: Deployment) -> CancelledError | SupersededError | None:
    """Give the error with which to stop a deployment, if a person or a newer push stopped it."""
    if deployment.cancelled_by:
        return CancelledError(f"cancelled by {deployment.cancelled_by}")
    if deployment.replaced_by:
        return SupersededError(f"#{deployment.replaced_by} is a newer push")
    return None


def requeue(session: Session, deployment: Deployment) -> None:
    """Put a deployment whose worker died back into the queue; it did nothing irreversible."""
    _move(deployment, DeploymentState.QUEUED)
    deployment.started_at = None
    session.add(deployment)


def hand_back(session: Session, held: HeldLease) -> None:
    """Put the deployment back into the queue as if it had never started, for another worker.

    A deployment that was told to stop in the meantime ends instead.
    """
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    if (asked := stop_asked(deployment)) is not None:
        _end_without_success(session, deployment, DeploymentState.CANCELLED, str(asked))
        return
    for made in (Step, Release):
        session.execute(delete(made).where(col(made.deployment_id) == deployment.id))
    deployment.attempts -= 1
    requeue(session, deployment)


def abandon(session: Session, deployment: Deployment, reason: str) -> None:
    """End a deployment whose worker died: as our error, or as stopped if it was told to stop."""
    _end_without_success(session, deployment, DeploymentState.ERROR, reason)


def _end_without_success(
    session: Session, deployment: Deployment, state: DeploymentState, reason: str
) -> None:
    match stop_asked(deployment):
        case CancelledError() as asked:
            state, reason = DeploymentState.CANCELLED, str(asked)
        case SupersededError() as asked:
            state, reason = DeploymentState.SUPERSEDED, str(asked)
        case None:
            pass
    _end(session, deployment, state, reason)


def _end(session: Session, deployment: Deployment, state: DeploymentState, reason: str) -> None:
    _move(deployment, state)
    deployment.reason = reason[:1000]
    deployment.ended_at = now()
    _close_open_steps(session, deployment, deployment.ended_at)
    session.add(deployment)
    announce(session, deployment, _words(deployment))


def _words(deployment: Deployment) -> str:
    # A push that changes nothing which the app watches is a success without a release.
    if deployment.state is DeploymentState.SUCCESS and deployment.release_id is not None:
        return "live"
    if deployment.state is DeploymentState.SUCCESS:
        return deployment.reason
    return f"{deployment.state}: {deployment.reason}"


def _close_open_steps(session: Session, deployment: Deployment, at: datetime) -> None:
    statement = select(Step).where(
        Step.deployment_id == deployment.id, col(Step.ended_at).is_(None)
    )
    for step in session.exec(statement).all():
        # Every end state of a deployment is also a `StepState`.
        step.state = StepState(deployment.state)
        step.reason = deployment.reason
        step.ended_at = at


def _move(deployment: Deployment, state: DeploymentState) -> None:
    ensure_transition(deployment.state, state)
    deployment.state = state


def _step(session: Session, deployment_id: int, name: StepName) -> Step | None:
    statement = select(Step).where(Step.deployment_id == deployment_id, Step.name == name)
    return session.exec(statement).first()


def close_open_steps(session: Session, deployment: Deployment) -> None:
    """Close the retire step that a dead worker left open; the watcher's sweep does its work."""
    statement = select(Step).where(
        Step.deployment_id == deployment.id, Step.state == StepState.RUNNING
    )
    for step in session.exec(statement).all():
        step.state = StepState.ERROR
        step.reason = "the worker was killed; the watcher finished it"
        step.ended_at = now()
