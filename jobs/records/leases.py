"""Leases on apps: taken, renewed, given back, taken over from a dead holder."""

from datetime import UTC, datetime

from sqlmodel import Session, col, select

from jobs.records.deployments import HeldLease, app_now, ensure_lease
from jobs.states import DeploymentState
from jobs.storage.models import Deployment, Lease, Step, now
from jobs.system.watch_times import LEASE

GIVEN_UP = datetime.fromtimestamp(0, UTC)


def take(session: Session, app_id: int, deployment_id: int, holder: str) -> HeldLease:
    """Hold an app that `is_free`, in the same transaction."""
    app = app_now(session, app_id)
    app.last_fence += 1
    session.add(
        Lease(
            app_id=app_id,
            deployment_id=deployment_id,
            holder=holder,
            fence=app.last_fence,
            expires_at=now() + LEASE,
        )
    )
    return HeldLease(app_id, deployment_id, app.last_fence)


def take_over(session: Session, lease: Lease, holder: str) -> HeldLease:
    """Take an expired lease away from its holder, whose writes are refused from now on."""
    app = app_now(session, lease.app_id)
    app.last_fence += 1
    lease.fence = app.last_fence
    lease.holder = holder
    lease.expires_at = now() + LEASE
    session.add(lease)
    return HeldLease(lease.app_id, lease.deployment_id, lease.fence)


def renew(session: Session, held: HeldLease) -> None:
    """Stay the holder for another while.

    Raises:
        LeaseLostError: somebody else holds the app.
    """
    ensure_lease(session, held)
    session.get_one(Lease, held.app_id).expires_at = now() + LEASE


def give_back(session: Session, held: HeldLease) -> None:
    """Let go of the app; nothing happens when it was taken away already."""
    lease = session.get(Lease, held.app_id)
    if lease is not None and lease.fence == held.fence:
        session.delete(lease)


def let_go(session: Session, held: HeldLease) -> None:
    """Give the app back, unless its deployment or a step has no end: the watcher sees to that.

    Without a lease nobody would ever look at a deployment that is still `running`.
    """
    lease = session.get(Lease, held.app_id)
    if not _is_unfinished(session, held.deployment_id):
        give_back(session, held)
    elif lease is not None and lease.fence == held.fence:
        lease.expires_at = GIVEN_UP


def _is_unfinished(session: Session, deployment_id: int) -> bool:
    deployment = session.get(Deployment, deployment_id)
    open_step = select(Step).where(
        Step.deployment_id == deployment_id, col(Step.ended_at).is_(None)
    )
    return deployment is not None and (
        deployment.state is DeploymentState.RUNNING
        or (deployment.state.is_over and session.exec(open_step).first() is not None)
    )


def expire(session: Session, holder: str) -> None:
    """Let the leases of a holder that is known to be dead expire at once."""
    for lease in session.exec(select(Lease).where(Lease.holder == holder)).all():
        lease.expires_at = GIVEN_UP
        session.add(lease)
