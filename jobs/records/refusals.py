"""What is kept of deliveries that were refused: few rows, however many there are and from whom.

Anybody may send such a delivery, in anybody's name. So those that are alike share a row, and rows
about a repository that is configured are kept in preference to others. A repository and an address
have so many rows and no more: what is beyond is counted together, in a row without an address.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, or_, select

from jobs.states import Refusal
from jobs.storage.models import RefusalCount, RefusedDelivery, Repository, now

MOST_ROWS = 200
MOST_OF_REPOSITORY = 10
MOST_OF_ADDRESS = 10
KEPT = timedelta(days=30)


@dataclass(frozen=True)
class Refused:
    """Deliveries that were refused alike since the last time they were written down.

    Attributes:
        claimed: "owner/name" of the repository that the last of them named; empty: none.
        github_id: GitHub's id of the repository, as the last of them claimed it.
        address: where they came from; empty: several addresses.
        reason: a wrong signature in the name of no configured repository is kept as of an unknown
            one: nobody could have signed that.
    """

    claimed: str
    github_id: int | None
    address: str
    reason: Refusal
    count: int
    first_at: datetime
    last_at: datetime


def keep_refusals(session: Session, refused: Sequence[Refused]) -> None:
    """Add to what is kept of refused deliveries, and forget what is old or too much."""
    find = _finder(session, refused)
    before = session.exec(select(RefusedDelivery)).all()
    book, counts = _Book(before), Counter[Refusal]()
    for one in refused:
        repository = find(one)
        reason = one.reason
        if repository is None and reason is Refusal.WRONG_SIGNATURE:
            reason = Refusal.UNKNOWN_REPOSITORY
        book.add(one, repository.id if repository else None, reason)
        counts[reason] += one.count
    kept = book.best(since=now() - KEPT)
    session.add_all(kept)
    kept_ids = {row.id for row in kept}
    for row in before:
        if row.id not in kept_ids:
            session.delete(row)
    _count(session, counts)


def configured_names(session: Session) -> frozenset[str]:
    """Give the names of all repositories, in lower case."""
    return frozenset(session.exec(select(Repository.name_key)))


def _finder(session: Session, refused: Iterable[Refused]) -> Callable[[Refused], Repository | None]:
    """Read the repositories that are claimed; what is given finds the one of some deliveries."""
    names = {one.claimed.lower() for one in refused}
    ids = {one.github_id for one in refused if one.github_id is not None}
    named = or_(col(Repository.name_key).in_(names), col(Repository.github_id).in_(ids))
    rows = session.exec(select(Repository).where(named)).all()
    by_name = {row.name_key: row for row in rows}
    by_id = {row.github_id: row for row in rows if row.github_id is not None}

    def find(one: Refused) -> Repository | None:
        return by_name.get(one.claimed.lower()) or by_id.get(one.github_id or 0)

    return find


def _count(session: Session, counts: Counter[Refusal]) -> None:
    for reason, count in counts.items():
        row = session.get(RefusalCount, reason.value)
        session.add(row := row or RefusalCount(reason=reason.value))
        row.count += count


Key = tuple[int | None, str, Refusal]  # the repository's id, the address, the reason


class _Book:
    """The rows, while others are added to them."""

    def __init__(self, rows: Iterable[RefusedDelivery]) -> None:
        self._rows: dict[Key, RefusedDelivery] = {}
        self._of_repository: Counter[int | None] = Counter()
        self._of_address: Counter[str] = Counter()
        for row in rows:
            self._put((row.repository_id, row.address, row.reason), row)

    def _put(self, key: Key, row: RefusedDelivery) -> None:
        self._rows[key] = row
        self._of_repository[row.repository_id] += 1
        self._of_address[row.address] += 1

    def add(self, one: Refused, repository_id: int | None, reason: Refusal) -> None:
        """Count deliveries in the row of those that are alike."""
        key = (repository_id, one.address, reason)
        if key not in self._rows and not self._has_room(repository_id, one.address):
            key = (repository_id, "", reason)
        if key not in self._rows:
            self._put(key, _empty_row(key, one.first_at))
        row = self._rows[key]
        row.count += one.count
        row.claimed = one.claimed or row.claimed
        row.last_at = max(row.last_at, one.last_at)

    def _has_room(self, repository_id: int | None, address: str) -> bool:
        of_one = 0 if repository_id is None else self._of_repository[repository_id]
        return of_one < MOST_OF_REPOSITORY and self._of_address[address] < MOST_OF_ADDRESS

    def best(self, *, since: datetime) -> list[RefusedDelivery]:
        """Give the rows to keep: the newest, and first those of configured repositories."""
        recent = [row for row in self._rows.values() if row.last_at >= since]
        recent.sort(key=lambda row: (row.repository_id is None, -row.last_at.timestamp()))
        return recent[:MOST_ROWS]


def _empty_row(key: Key, moment: datetime) -> RefusedDelivery:
    repository_id, address, reason = key
    return RefusedDelivery(
        repository_id=repository_id,
        address=address,
        reason=reason,
        first_at=moment,
        last_at=moment,
    )
