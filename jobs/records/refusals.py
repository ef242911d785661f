"""Stores refused deliveries in a bounded number of rows, however many there are.

Anybody can send such a delivery and claim any repository. So similar ones share a row, and rows of
configured repositories are kept before others. The rows of each repository and of each address are
limited too: beyond the limit, deliveries are counted together in a row without an address.
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
    """Similar deliveries that were refused since the counts were last stored.

    Attributes:
        claimed: "owner/name" of the repository that the last one claimed; empty: none.
        github_id: GitHub's id of the repository, as the last one claimed it.
        address: the sender's address; empty: several addresses.
        reason: a wrong signature for a repository that is not configured is stored as an unknown
            repository, because nobody could have signed it.
    """

    claimed: str
    github_id: int | None
    address: str
    reason: Refusal
    count: int
    first_at: datetime
    last_at: datetime


def keep_refusals(session: Session, refused: Sequence[Refused]) -> None:
    """Add refused deliveries to the stored rows, and remove old or excess rows."""
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
    """Read the claimed repositories; return a function that finds the one of a `Refused`."""
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
    """The rows, indexed so that further deliveries can be added."""

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
        """Add deliveries to the row of similar ones."""
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
        """Give the rows to keep: those of configured repositories first, then the newest."""
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
