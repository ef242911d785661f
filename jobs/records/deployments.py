"""The life of a deployment: the only module that writes its state.

What a worker writes carries the fence of its lease: once another worker has the app, the first
one's writes are refused with LeaseLostError, whatever it still believes.
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
    """A worker's hold on an app: the lease it was given, by its fence."""

    app_id: int
    deployment_id: int
    fence: int


def app_now(session: Session, app_id: int) -> App:
    """Give the app's row as it is in this transaction, whatever was read of it before."""
    statement = select(App).where(App.id == app_id)
    return session.exec(statement.execution_options(populate_existing=True)).one()


def ensure_lease(session: Session, held: HeldLease) -> None:
    """Make sure that the lease is ours; in a transaction that writes it stays ours to its end.

    Raises:
        LeaseLostError: somebody else has it, or nobody.
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
    # Queued as the first one, but another became live meanwhile: it is an update by now.
    if deployment.kind is Kind.INITIAL and app.live_release_id:
        deployment.kind = Kind.UPDATE
    announce(session, deployment, "running")
    return deployment


def record_commit(
    session: Session, held: HeldLease, *, sha: str, message: str, author: str
) -> Deployment:
    """Write down which commit the deployment turned out to be for."""
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    is_news = not deployment.commit_sha
    deployment.commit_sha = sha
    # The payload's message comes first: it was signed; the repository's only fills what is missing.
    deployment.commit_message = deployment.commit_message or message[:2000]
    deployment.author = deployment.author or author[:200]
    if is_news:
        announce(session, deployment, "running")
    return deployment


def start_step(session: Session, held: HeldLease, name: StepName) -> None:
    """Write down that a step has begun; a step begun again starts afresh.

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
    """Write down how a step ended, unless the deployment's own end has done so."""
    ensure_lease(session, held)
    step = _step(session, held.deployment_id, name)
    if step is not None and step.ended_at is None:
        step.state = state
        step.reason = reason[:1000]
        step.ended_at = now()


def record_release(session: Session, held: HeldLease, release: Release) -> Release:
    """Give the app's next release its number and make it the deployment's."""
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
    """What serves an app from now on."""

    release_id: int
    container_id: str
    address: str  # "10.201.0.2:8000"
    slot: str


def go_live(session: Session, held: HeldLease, live: Live) -> None:
    """Make the new container the app's live one and the deployment a success, in one stroke.

    What served before is kept to go back to until the new one has stood its trial.

    Raises:
        CancelledError: a person said stop, and was told that it would.
        SupersededError: a newer push does not wait for it.
    """
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    if (asked := stop_asked(deployment)) is not None:
        raise asked
    app = session.get_one(App, held.app_id)
    before = session.get(Deployment, app.live_deployment_id) if app.live_deployment_id else None
    was_withdrawn = before is not None and before.state is DeploymentState.FAILURE
    begin_trial(app, live.release_id, was_withdrawn=was_withdrawn)
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
    """End the deployment as its worker saw it end; one that was told to stop ends `cancelled`."""
    ensure_lease(session, held)
    deployment = session.get_one(Deployment, held.deployment_id)
    _end_without_success(session, deployment, state, reason)
    return deployment


def withdraw(session: Session, deployment: Deployment, reason: str) -> None:
    """Take back a success that did not last; when it ended stays as it was."""
    _move(deployment, DeploymentState.FAILURE)
    deployment.reason = reason[:1000]
    session.add(deployment)
    announce(session, deployment, _words(deployment))


def supersede(session: Session, deployment: Deployment, reason: str) -> None:
    """End a queued deployment whose place a newer push takes."""
    _end(session, deployment, DeploymentState.SUPERSEDED, reason)


def cancel(session: Session, deployment: Deployment, actor: Actor) -> Deployment:
    """Cancel a deployment: a queued one at once, a running one as soon as its worker sees it.

    Raises:
        ConflictError: it is over already.
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
    """Have a running push of the same ref make way for one that is certainly newer.

    One that has begun to switch is as good as live: the newer one waits for it.
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
    """Whether a deployment is past the point from which it is rather ended than broken off."""
    return _step(session, deployment_id, StepName.SWITCH) is not None


def stop_asked(deployment: Deployment) -> CancelledError | SupersededError | None:
    """Give what a deployment was asked to stop with, by a person or for a newer push."""
    if deployment.cancelled_by:
        return CancelledError(f"cancelled by {deployment.cancelled_by}")
    if deployment.replaced_by:
        return SupersededError(f"#{deployment.replaced_by} is a newer push")
    return None


def requeue(session: Session, deployment: Deployment) -> None:
    """Put a deployment whose worker died back in the queue: nothing irreversible was done."""
    _move(deployment, DeploymentState.QUEUED)
    deployment.started_at = None
    session.add(deployment)


def hand_back(session: Session, held: HeldLease) -> None:
    """Put the deployment back in the queue as if it had never begun, for another worker.

    One that was told to stop meanwhile ends instead.
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
    """End a deployment whose worker died: an error of ours, unless it was to stop anyway."""
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
    if deployment.state is DeploymentState.SUCCESS:
        return "live"
    return f"{deployment.state}: {deployment.reason}"


def _close_open_steps(session: Session, deployment: Deployment, at: datetime) -> None:
    statement = select(Step).where(
        Step.deployment_id == deployment.id, col(Step.ended_at).is_(None)
    )
    for step in session.exec(statement).all():
        # The states a deployment can end in are words a step can end with, too.
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
    """Close the retirement that a dead worker did not finish; the watcher's sweep finishes it."""
    statement = select(Step).where(
        Step.deployment_id == deployment.id, Step.state == StepState.RUNNING
    )
    for step in session.exec(statement).all():
        step.state = StepState.ERROR
        step.reason = "the worker was killed; the watcher finished it"
        step.ended_at = now()
