"""SELECTs about repositories: their sources, tokens, webhook secrets and missed-push searches."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, or_, select

from jobs.errors import NotFoundError
from jobs.reads.views import CatchUpView, RepositoryView, WebhookSecretView
from jobs.rules.missed_pushes import in_words
from jobs.rules.token_trouble import token_problem
from jobs.states import CatchUpWay
from jobs.storage.models import (
    App,
    CatchUp,
    Delivery,
    Repository,
    RepositorySecret,
    SecretKind,
    now,
)

# A search for missed pushes may fail for this long before it is reported.
LATE = timedelta(hours=1)
WAYS = {
    CatchUpWay.DELIVERIES: "by GitHub's list of deliveries",
    CatchUpWay.BRANCH_HEAD: "by the branch's head",
}


def repositories_with_token(session: Session) -> set[int]:
    """Give the ids of the repositories that have a token of their own."""
    statement = select(RepositorySecret.repository_id).where(
        RepositorySecret.kind == SecretKind.TOKEN
    )
    return set(session.exec(statement).all())


def has_repository_token(session: Session, repository: Repository) -> bool:
    """Whether a repository has a token of its own."""
    statement = select(RepositorySecret.id).where(
        RepositorySecret.repository_id == repository.id, RepositorySecret.kind == SecretKind.TOKEN
    )
    return session.exec(statement.limit(1)).first() is not None


def repository_views(session: Session) -> list[RepositoryView]:
    """Describe every repository, by name."""
    tokens = repositories_with_token(session)
    secrets: dict[int, list[RepositorySecret]] = defaultdict(list)
    for secret in valid_webhook_secrets(session):
        secrets[secret.repository_id].append(secret)
    apps: dict[int, list[str]] = defaultdict(list)
    for app in session.exec(select(App).order_by(App.name)).all():
        apps[app.repository_id].append(app.name)
    seen = _webhooks_seen(session)
    looks = {row.repository_id: row for row in session.exec(select(CatchUp)).all()}
    rows = session.exec(select(Repository).order_by(Repository.name_key)).all()
    return [
        RepositoryView(
            **row.model_dump(include=set(RepositoryView.model_fields) - {"token_problem"}),
            token_set=row.id in tokens,
            token_problem=token_problem(row.token_problem, row.token_expires_at, at=now()),
            webhook_secret=_webhook_secret(secrets[row.id or 0]),
            webhook_seen_at=seen.get(row.id or 0),
            catch_up=_catch_up(looks.get(row.id or 0) or CatchUp(repository_id=row.id or 0)),
            apps=apps[row.id or 0],
        )
        for row in rows
    ]


def _webhooks_seen(session: Session) -> dict[int, datetime]:
    """Give the time of each repository's last delivery, by the repository's id."""
    last = (
        select(Delivery.id)
        .where(
            Delivery.repository_id == Repository.id,
            Delivery.body_sha256 != "",  # excludes missed pushes, which have no body
        )
        .order_by(col(Delivery.id).desc())
        .limit(1)
        .correlate(Repository)
        .scalar_subquery()
    )
    statement = select(Repository.id, Delivery.received_at).join(Delivery, col(Delivery.id) == last)
    return {number or 0: at for number, at in session.exec(statement)}


def repository_view(session: Session, repository_id: int) -> RepositoryView:
    """Describe one repository, which must exist."""
    return next(view for view in repository_views(session) if view.id == repository_id)


def find_repository_id(session: Session, full_name: str) -> int:
    """Give the id of the repository of that name, ignoring case.

    Raises:
        NotFoundError: no repository has that name.
    """
    statement = select(Repository.id).where(Repository.name_key == full_name.lower())
    found = session.exec(statement).first()
    if found is None:
        raise NotFoundError(f"there is no repository named {full_name!r}; an app brings its own")
    return found


def claimed_repositories(
    session: Session, *, github_id: int | None, full_name: str
) -> list[Repository]:
    """Give the repositories that a delivery may belong to: by id first, then by name.

    The id in a row is verified, so it takes precedence over the name, which may have passed to
    another repository.
    """
    found = session.exec(select(Repository).where(_is_claimed(github_id, full_name))).all()
    return sorted(found, key=lambda row: row.github_id != github_id)


def _is_claimed(github_id: int | None, full_name: str) -> ColumnElement[bool]:
    # A claim without an id must not match the rows whose id is unknown.
    of_id = col(Repository.github_id).in_([] if github_id is None else [github_id])
    return or_(of_id, col(Repository.name_key) == full_name.lower())


def claimed_webhook_secrets(
    session: Session, *, github_id: int | None, full_name: str
) -> list[tuple[int, bytes]]:
    """Give the valid webhook secrets of `claimed_repositories`: repository id and sealed value."""
    statement = (
        select(RepositorySecret.repository_id, RepositorySecret.sealed)
        .join(Repository, col(Repository.id) == col(RepositorySecret.repository_id))
        .where(_is_claimed(github_id, full_name), *_is_valid_webhook_secret())
    )
    return [(owner, sealed) for owner, sealed in session.exec(statement)]


def has_webhook_secret(session: Session, repository_id: int) -> bool:
    """Whether a repository has a valid webhook secret of its own."""
    return bool(valid_webhook_secrets(session, [repository_id]))


def most_webhook_secrets(session: Session) -> int:
    """Give the largest number of valid webhook secrets that any repository has; at least 1."""
    statement = (
        select(func.count())
        .where(*_is_valid_webhook_secret())
        .group_by(col(RepositorySecret.repository_id))
        .order_by(func.count().desc())
        .limit(1)
    )
    return session.exec(statement).first() or 1


def valid_webhook_secrets(
    session: Session, repository_ids: Collection[int | None] | None = None
) -> list[RepositorySecret]:
    """Give the valid webhook secrets of all repositories or of some, the newest first.

    Args:
        repository_ids: the repositories; None for all.
    """
    statement = select(RepositorySecret).where(*_is_valid_webhook_secret())
    if repository_ids is not None:
        statement = statement.where(col(RepositorySecret.repository_id).in_(repository_ids))
    return list(session.exec(statement.order_by(col(RepositorySecret.id).desc())).all())


def _is_valid_webhook_secret() -> tuple[ColumnElement[bool], ...]:
    expires_at = col(RepositorySecret.expires_at)
    is_webhook = col(RepositorySecret.kind) == SecretKind.WEBHOOK
    return is_webhook, or_(expires_at.is_(None), expires_at > now())


def _webhook_secret(rows: list[RepositorySecret]) -> WebhookSecretView:
    ends = [row.expires_at for row in rows if row.expires_at is not None]
    return WebhookSecretView(
        since=rows[0].created_at if rows else None, previous_until=max(ends, default=None)
    )


def _catch_up(row: CatchUp) -> CatchUpView:
    moments = [at for at in (row.next_look_at, row.paused_until) if at is not None]
    known = row.model_dump(include=set(CatchUpView.model_fields) - {"next_look_at", "found"})
    found = in_words(row.missed, row.found)
    return CatchUpView(**known, found=found, next_look_at=max(moments, default=None))


@dataclass(frozen=True)
class Late:
    """A repository whose search for missed pushes has failed for longer than `LATE`."""

    repository: str
    problem: str

    def __str__(self) -> str:
        """Give the repository with the problem."""
        return f"{self.repository}: {self.problem}"


@dataclass(frozen=True)
class SearchHealth:
    """The overall state of the search for missed pushes.

    Attributes:
        is_on: whether the search is enabled.
        ways: the number of repositories searched, by way.
        last_at: the time of the last search.
        late: the repositories whose search has failed for longer than `LATE`.
    """

    is_on: bool = True
    ways: Mapping[CatchUpWay | None, int] = field(default_factory=dict)
    last_at: datetime | None = None
    late: tuple[Late, ...] = ()

    @property
    def words(self) -> str:
        """The state in one sentence."""
        if not self.is_on:
            return "switched off: KEYSTONE_CATCH_UP_MINUTES is 0"
        if self.last_at is None:
            return "no repository was asked yet"
        asked = sum(self.ways.values())
        counted = "1 repository" if asked == 1 else f"{asked} repositories"
        told = ", ".join(
            f"{self.ways[way]} {words}" for way, words in WAYS.items() if way in self.ways
        )
        return f"{counted} asked, {told}; last at {self.last_at:%Y-%m-%d %H:%M} UTC"


def search_health(session: Session, *, every_minutes: int) -> SearchHealth:
    """Give the overall state of the search for missed pushes."""
    if not every_minutes:
        return SearchHealth(is_on=False)
    # Select columns: pages ask this at every refresh, and there may be hundreds of repositories.
    columns: list[Any] = [
        CatchUp.way,
        CatchUp.looked_at,
        func.coalesce(CatchUp.settled_until, Repository.created_at),
        CatchUp.problem,
        Repository.full_name,
    ]
    statement = (
        sqlalchemy.select(*columns)
        .join(Repository, col(Repository.id) == col(CatchUp.repository_id))
        .where(col(CatchUp.looked_at).is_not(None))
    )
    looks = [_Look(*row) for row in session.connection().execute(statement)]
    return SearchHealth(
        ways=Counter(look.way for look in looks),
        last_at=max((look.at for look in looks), default=None),
        late=tuple(Late(look.repository, look.problem) for look in looks if look.is_late),
    )


class _Look(NamedTuple):
    """The result of the last search for a repository's missed pushes."""

    way: CatchUpWay | None
    at: datetime
    settled: datetime  # all pushes up to this time are accounted for
    problem: str
    repository: str

    @property
    def is_late(self) -> bool:
        # Compare with the time of the last search, not with now: Keystone may have been down since.
        return self.at - self.settled > LATE
