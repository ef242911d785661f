"""Leases on apps: take, renew, return, or take over from a dead holder."""

from datetime import UTC, datetime

from sqlmodel import Session, col, select

from jobs.records.deployments import HeldLease, app_now, ensure_lease
from jobs.states import DeploymentState
from jobs.storage.models import Deployment, Lease, Step, now
from jobs.system.watch_times import LEASE

GIVEN_UP = datetime.fromtimestamp(0, UTC)


def take(session: Session, app_id: int, deployment_id: int, holder: str) -> HeldLease:
    """Take the lease of an app; check in the same transaction that it `is_free`."""
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
    """Take over an expired lease; the previous holder's writes are refused from now on."""
    app = app_now(session, lease.app_id)
    app.last_fence += 1
    lease.fence = app.last_fence
    lease.holder = holder
    lease.expires_at = now() + LEASE
    session.add(lease)
    return HeldLease(lease.app_id, lease.deployment_id, lease.fence)


def renew(session: Session, held: HeldLease) -> None:
    """Extend a held lease by `LEASE`.

    Raises:
        LeaseLostError: another holder has the lease, or nobody does.
    """
    ensure_lease(session, held)
    session.get_one(Lease, held.app_id).expires_at = now() + LEASE


def give_back(session: Session, held: HeldLease) -> None:
    """Delete a held lease; do nothing if another holder has taken it over."""
    lease = session.get(Lease, held.app_id)
    if lease is not None and lease.fence == held.fence:
        session.delete(lease)


def let_go(session: Session, held: HeldLease) -> None:
    """Return the lease; if the deployment or a step has not ended, only let the lease expire.

    The watcher finishes such a deployment. It finds it by the expired lease: without a lease, a
    deployment that is still `running` would never be noticed.
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
    """Expire all leases of a dead holder at once."""
    for lease in session.exec(select(Lease).where(Lease.holder == holder)).all():
        lease.expires_at = GIVEN_UP
        session.add(lease)
