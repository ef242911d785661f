"""One deployment at a time per app: a lease in the database, with a fence that only grows.

Every record that a worker writes is checked against its fence (`records.deployments.ensure_lease`).
So a worker that was paused and wakes up too late is refused. `jobs.system.watch_times` says which
processes monitor the holders, and when they act. `jobs.records.leases` writes the leases.
"""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import Session, select

from jobs.records.leases import GIVEN_UP
from jobs.storage.models import Lease, now
from jobs.system.pid_space import pid_space
from jobs.system.proc import is_there
from jobs.system.watch_times import RENEW_EVERY_S, SECOND_LOOK_AFTER_S


def holder_name(pid: int) -> str:
    """Name a process of this machine as the holder of a lease."""
    return f"{pid_space()}:{pid}"


def is_dead(holder: str) -> bool:
    """Whether a holder is certainly dead: a process of this PID namespace that does not exist.

    The processes of other machines and of other containers cannot be seen, so they are never dead.
    """
    where, _, pid = holder.rpartition(":")
    return where == pid_space() and pid.isdecimal() and not is_there(int(pid))


def is_free(session: Session, app_id: int) -> bool:
    """Whether an app has no lease, not even an expired one: that still has to be recovered."""
    return session.exec(select(Lease).where(Lease.app_id == app_id)).first() is None


class SecondLook:
    """Distinguishes dead holders from those that were temporarily unable to renew their leases.

    After a database lock, a sleep of the machine or a forward jump of the clock, all leases have
    expired at once, although their holders are alive. These renew them before the second look.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[int, int, datetime], float] = {}

    def confirm(self, late: Iterable[Lease]) -> list[Lease]:
        """Give the leases that were late and unchanged at least `SECOND_LOOK_AFTER_S` ago, too.

        Call it in a writing transaction: if this process can write, so can the holders.
        """
        moment = time.monotonic()
        seen = {(each.app_id, each.fence, each.expires_at): each for each in late}
        self._first = {lease: self._first.get(lease, moment) for lease in seen}
        return [
            seen[lease] for lease, at in self._first.items() if moment - at >= SECOND_LOOK_AFTER_S
        ]


def expired(session: Session, second_look: SecondLook) -> list[Lease]:
    """List the leases that were given up, whose holders are dead, or that expired unrenewed."""
    moment = now()
    leases = session.exec(select(Lease)).all()
    gone = [each for each in leases if each.expires_at == GIVEN_UP or is_dead(each.holder)]
    late = [each for each in leases if each.expires_at < moment and each not in gone]
    return gone + second_look.confirm(late)


def is_overdue(session: Session, holder: str, second_look: SecondLook) -> bool:
    """Whether a holder has missed two renewals of a lease, and one more while it could renew."""
    limit = now() + timedelta(seconds=RENEW_EVERY_S)
    leases = session.exec(select(Lease).where(Lease.holder == holder)).all()
    return bool(second_look.confirm(each for each in leases if each.expires_at < limit))
