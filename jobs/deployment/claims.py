"""Choosing an app's next deployment: the newest push wins, older ones end `superseded`.

GitHub delivers in any order. When its timestamps tell two pushes apart, the older one ends here.
When they do not, both stay queued, and the checkout asks the branch itself (`Claim.rivals`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import case
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from jobs.deployment.lease import is_free
from jobs.records.deployments import HeldLease, supersede
from jobs.records.leases import take
from jobs.records.recoveries import end_needless
from jobs.rules.triggers import Order, compare
from jobs.states import EVERY_LANE, PUSHES, DeploymentState, Lane, Trigger
from jobs.storage.models import App, Deployment, Lease


@dataclass(frozen=True)
class Rival:
    """Another push of the same branch that may or may not be newer."""

    deployment_id: int
    number: int
    commit_sha: str


@dataclass(frozen=True)
class Claim:
    """A deployment that this worker holds the lease for, and runs."""

    held: HeldLease
    rivals: tuple[Rival, ...] = ()


def claim_next(
    session: Session, app_id: int, holder: str, lanes: Collection[Lane] = EVERY_LANE
) -> Claim | None:
    """Take the app's lease for its next deployment.

    Args:
        lanes: the lanes whose deployments the holder may run.

    Returns:
        None when nothing is queued, the app's lease is held, or the next deployment is for the
        workers of another lane (`next_in_line` tells).
    """
    if not is_free(session, app_id):
        return None
    queued = list(
        session.exec(
            select(Deployment)
            .where(Deployment.app_id == app_id, Deployment.state == DeploymentState.QUEUED)
            .order_by(col(Deployment.id))
        ).all()
    )
    for old, new in outdated(queued, [*queued, *_latest_pushes(session, queued)]):
        supersede(session, old, f"#{new.number} is a newer push")
    end_needless(session, session.get_one(App, app_id), queued)
    queued = [row for row in queued if row.state is DeploymentState.QUEUED]
    if not queued:
        return None
    chosen = choose(queued)
    if chosen.trigger.lane not in lanes:
        return None
    known = [*queued, *_latest_pushes(session, [chosen])]
    rivals = [row for row in known if _order(chosen, row) is Order.UNKNOWN]
    return Claim(
        take(session, app_id, chosen.id or 0, holder),
        tuple(Rival(row.id or 0, row.number, row.commit_sha) for row in rivals),
    )


def has_work(session: Session, deployment_id: int) -> bool:
    """Whether the app of a deployment has something queued and its lease is not held."""
    wanted = select(Deployment.app_id).where(Deployment.id == deployment_id).scalar_subquery()
    statement = (
        select(Deployment.id)
        .where(
            Deployment.app_id == wanted,
            Deployment.state == DeploymentState.QUEUED,
            col(Deployment.app_id).not_in(select(Lease.app_id)),
        )
        .limit(1)
    )
    return session.exec(statement).first() is not None


def outdated(
    queued: Sequence[Deployment], known: Sequence[Deployment]
) -> list[tuple[Deployment, Deployment]]:
    """Pair each queued push that is certainly outdated with the newest push of its branch."""
    newest = _newest_pushes(known)
    pairs = []
    for old in queued:
        newer = [new for new in newest.get(old.ref, ()) if _order(old, new) is Order.OLDER]
        if newer:
            pairs.append((old, newer[0]))
    return pairs


def _newest_pushes(known: Sequence[Deployment]) -> dict[str, list[Deployment]]:
    """Find the newest push of each branch, and the newest one of a different commit.

    These two suffice: a push that is older than any other is older than one of them. Claiming holds
    the write lock and thousands may be queued, so avoid the O(n²) comparison.
    """
    pushes = [row for row in known if row.trigger in PUSHES and row.pushed_at is not None]
    pushes.sort(key=lambda row: row.pushed_at or 0)
    found: dict[str, dict[str, Deployment]] = {}
    # Among pushes of the same second, the last to arrive counts as the newest.
    for row in reversed(pushes):
        found.setdefault(row.ref, {}).setdefault(row.commit_sha, row)
    return {ref: list(of_commits.values())[:2] for ref, of_commits in found.items()}


def choose(queued: Sequence[Deployment]) -> Deployment:
    """Choose the first request; if it is a push, the last to arrive of the pushes of its branch."""
    first = first_in_line(queued)
    if first.trigger not in PUSHES:
        return first
    return [row for row in queued if row.trigger in PUSHES and row.ref == first.ref][-1]


def first_in_line(queued: Sequence[Deployment]) -> Deployment:
    """Give the first request; a recovery precedes all others, because the site may be down."""
    return next((row for row in queued if row.trigger is Trigger.RECOVERY), queued[0])


def next_in_line(session: Session, app_id: int) -> Deployment | None:
    """Give the `first_in_line` of an app; None if nothing is queued, or its lease is held."""
    if not is_free(session, app_id):
        return None
    is_recovery = col(Deployment.trigger) == Trigger.RECOVERY
    statement = (
        select(Deployment)
        .where(Deployment.app_id == app_id, Deployment.state == DeploymentState.QUEUED)
        .order_by(case((is_recovery, 0), else_=1), col(Deployment.id))
        .limit(1)
    )
    return session.exec(statement).first()


def _order(one: Deployment, other: Deployment) -> Order | None:
    """Compare two pushes of one branch with different commits; None for anything else."""
    if one is other or one.ref != other.ref or {one.trigger, other.trigger} - PUSHES:
        return None
    if one.commit_sha == other.commit_sha:
        return None
    return compare(one.pushed_at, other.pushed_at)


def _latest_pushes(session: Session, queued: Sequence[Deployment]) -> list[Deployment]:
    """Find the last deployed push of each branch that has a queued push.

    One statement finds all: thousands of refs may be queued, and the caller holds the write lock.
    """
    one_of_each = {row.ref: row.id for row in queued if row.trigger in PUSHES}
    other = aliased(Deployment)
    latest_of_ref = (
        select(other.id)
        .where(
            col(other.app_id) == col(Deployment.app_id),
            col(other.ref) == col(Deployment.ref),
            col(other.trigger).in_(PUSHES),
            col(other.started_at).is_not(None),
            col(other.state).not_in([DeploymentState.SUPERSEDED, DeploymentState.QUEUED]),
        )
        .order_by(col(other.id).desc())
        .limit(1)
        .correlate(Deployment)
        .scalar_subquery()
    )
    latest = select(latest_of_ref).where(col(Deployment.id).in_(one_of_each.values()))
    return list(session.exec(select(Deployment).where(col(Deployment.id).in_(latest))))
