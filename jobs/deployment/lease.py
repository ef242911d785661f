"""One deployment at a time per app: a lease in the database, with a fence that only grows.

Every record that a worker writes is checked against its fence (`records.deployments.ensure_lease`).
So a worker that was paused and wakes up too late is refused. `jobs.system.watch_times`
tells who watches over the holders, and when they act.
"""

import os
import socket
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import Session, select

from jobs.records.leases import GIVEN_UP
from jobs.storage.models import Lease, now
from jobs.system.proc import is_there
from jobs.system.watch_times import RENEW_EVERY_S, SECOND_LOOK_AFTER_S


def holder_name(pid: int) -> str:
    """Name a process of this machine as the holder of a lease."""
    return f"{_neighbourhood()}:{pid}"


def is_dead(holder: str) -> bool:
    """Whether a holder is certainly gone: a process that we would see if it were there.

    Of another machine's processes, and of other containers', nothing is known.
    """
    where, _, pid = holder.rpartition(":")
    return where == _neighbourhood() and pid.isdecimal() and not is_there(int(pid))


def _neighbourhood() -> str:
    """Name those whose process ids mean the same as ours."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux, or no /proc: then nobody is taken for dead before their time
        namespace = os.getpid()
    return f"{socket.gethostname()}:{namespace}"


def is_free(session: Session, app_id: int) -> bool:
    """Whether nobody holds the app; an expired lease still has to be cleaned up after."""
    return session.exec(select(Lease).where(Lease.app_id == app_id)).first() is None


class SecondLook:
    """Tells who does not renew a lease from who could not.

    A database that was locked, a machine that slept, a clock that was put forward: all leases run
    out at once, though their holders live. Those renew them before the second look.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[int, int, datetime], float] = {}

    def confirm(self, late: Iterable[Lease]) -> list[Lease]:
        """Give those of the late leases that were so, unchanged, `SECOND_LOOK_AFTER_S` ago.

        To be asked in a transaction that writes: then the holders can write, too.
        """
        moment = time.monotonic()
        seen = {(each.app_id, each.fence, each.expires_at): each for each in late}
        self._first = {lease: self._first.get(lease, moment) for lease in seen}
        return [
            seen[lease] for lease, at in self._first.items() if moment - at >= SECOND_LOOK_AFTER_S
        ]


def expired(session: Session, second_look: SecondLook) -> list[Lease]:
    """List the leases whose holders are gone, or have not been heard of for too long."""
    moment = now()
    leases = session.exec(select(Lease)).all()
    gone = [each for each in leases if each.expires_at == GIVEN_UP or is_dead(each.holder)]
    late = [each for each in leases if each.expires_at < moment and each not in gone]
    return gone + second_look.confirm(late)


def is_overdue(session: Session, holder: str, second_look: SecondLook) -> bool:
    """Whether a holder has missed two renewals of a lease, and another one while it could."""
    limit = now() + timedelta(seconds=RENEW_EVERY_S)
    leases = session.exec(select(Lease).where(Lease.holder == holder)).all()
    return bool(second_look.confirm(each for each in leases if each.expires_at < limit))
