"""SELECTs for the overview: the state of all apps and of the machine.

The number of statements does not depend on the number of apps. The overview reads every app, so it
reads only a few columns of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from dashboard.page_reads import AnySelect
from jobs.reads.apps import app_state, apps_with_open_deployments, has_bad_news
from jobs.reads.deliveries import wrong_secrets
from jobs.reads.domains import certificate_views
from jobs.reads.repositories import search_health
from jobs.reads.views import CertificateView
from jobs.rules.missed_pushes import in_words
from jobs.rules.reasons import failure_words
from jobs.states import REFUSAL_WORDS, AppState, ContainerState, DeploymentState
from jobs.storage.models import App, CatchUp, Deployment, Release, Repository, Vitals


@dataclass(frozen=True)
class Standing:
    """The state of one app."""

    id: int
    name: str
    state: AppState
    reason: str
    went_back: bool  # its last deployment was a recovery
    is_paused: bool
    paused_reason: str
    needs_redeploy: bool


@dataclass(frozen=True)
class Queue:
    """The deployments that wait for a worker."""

    length: int
    oldest: datetime | None  # since when the oldest one has waited


@dataclass(frozen=True)
class TokenTrouble:
    """A repository whose token is refused or expires soon."""

    repository: str
    app: str  # one of the apps that need the token
    problem: str | None  # None: the token works, but expires soon
    expires_at: datetime | None


@dataclass(frozen=True)
class IdentityTrouble:
    """A repository whose counterpart on GitHub is in doubt."""

    repository: str
    app: str  # one of the apps that use it
    words: str


@dataclass(frozen=True)
class Unused:
    """A repository that no app uses."""

    repository: str
    page: str  # the page that can remove it; empty: only the command line can


@dataclass(frozen=True)
class MissedPushes:
    """A repository whose pushes do not all arrive."""

    repository: str
    words: str


@dataclass(frozen=True)
class NameAdvice:
    """Advice for a dashboard that shares its host name with apps, or might."""

    words: str


@dataclass(frozen=True)
class Machine:
    """The state of the machine, the queue and the certificates."""

    queue: Queue
    busy: int  # running deployments
    vitals: Vitals | None  # None: the watcher has never written it
    certificates: Sequence[CertificateView]


def standings(session: Session) -> list[Standing]:
    """Give the state of every app, ordered by name."""
    opened = apps_with_open_deployments(session)
    rows = session.connection().execute(_every_app())
    return [_standing(_Row(*row), opened) for row in rows]


class _Row(NamedTuple):
    """The columns from which an app's `Standing` is computed."""

    id: int
    name: str
    live_release_id: int | None
    container_state: ContainerState | None
    container_reason: str
    container_restarts: int | None
    auto_deploy: bool
    paused_reason: str
    last_deployment: int
    ended: DeploymentState | None  # the last deployment's final state, if it is bad news
    failure: str | None  # the reason for it
    configuration: int
    live_configuration: int | None


def _every_app() -> AnySelect:
    # A scalar subquery finds each app's last deployment by its number. With a join, the database
    # might scan the deployments first, and there may be a million of them.
    ended, failure = (
        sqlalchemy.select(col(column))
        .where(
            col(Deployment.app_id) == App.id,
            col(Deployment.number) == App.last_deployment,
            has_bad_news(),
        )
        .correlate(App)
        .scalar_subquery()
        for column in (Deployment.state, Deployment.reason)
    )
    columns: list[Any] = [
        App.id,
        App.name,
        App.live_release_id,
        App.container_state,
        App.container_reason,
        App.container_restarts,
        App.auto_deploy,
        App.paused_reason,
        App.last_deployment,
        ended,
        failure,
        App.configuration,
        Release.configuration,
    ]
    live = col(Release.id) == col(App.live_release_id)
    return sqlalchemy.select(*columns).join(Release, live, isouter=True).order_by(App.name)


def _standing(row: _Row, opened: set[int]) -> Standing:
    failed = ""
    if row.ended is not None and row.failure is not None:
        failed = failure_words(row.last_deployment, row.ended, row.failure)
    state, reason = app_state(row, failed, is_deploying=row.id in opened)
    return Standing(
        name=row.name,
        id=row.id,
        state=state,
        reason=reason,
        went_back=row.ended is DeploymentState.SUCCESS,
        is_paused=not row.auto_deploy,
        paused_reason=row.paused_reason,
        needs_redeploy=row.live_configuration not in {None, row.configuration},
    )


def machine(session: Session) -> Machine:
    """Give the state of the machine, the queue and the certificates."""
    waiting = select(Deployment.queued_at).where(Deployment.state == DeploymentState.QUEUED)
    return Machine(
        queue=Queue(
            length=_count(session, DeploymentState.QUEUED),
            oldest=session.exec(waiting.order_by(col(Deployment.id)).limit(1)).first(),
        ),
        busy=_count(session, DeploymentState.RUNNING),
        vitals=session.get(Vitals, 1),
        certificates=certificate_views(session),
    )


def _count(session: Session, state: DeploymentState) -> int:
    return session.exec(select(func.count()).where(Deployment.state == state)).one()


def token_troubles(session: Session, *, before: datetime) -> list[TokenTrouble]:
    """List the repositories with apps whose token is refused or expires before a moment."""
    statement = (
        select(
            Repository.full_name,
            func.min(App.name),
            Repository.token_problem,
            Repository.token_expires_at,
        )
        .join(App, col(App.repository_id) == col(Repository.id))
        .where(
            or_(
                col(Repository.token_problem).is_not(None),
                col(Repository.token_expires_at) < before,
            )
        )
        .group_by(col(Repository.id))
        .order_by(Repository.name_key)
    )
    return [TokenTrouble(*row) for row in session.exec(statement)]


def identity_troubles(session: Session) -> list[IdentityTrouble]:
    """List the repositories whose identity is in doubt, except those whose token is refused."""
    statement = (
        select(Repository.full_name, func.min(App.name), Repository.identity_problem)
        .join(App, col(App.repository_id) == col(Repository.id))
        .where(
            col(Repository.identity_problem).is_not(None), col(Repository.token_problem).is_(None)
        )
        .group_by(col(Repository.id))
        .order_by(Repository.name_key)
    )
    return [IdentityTrouble(name, app, words or "") for name, app, words in session.exec(statement)]


def unused_repositories(session: Session, page: str) -> list[Unused]:
    """List the repositories without an app, which earlier versions left behind.

    Args:
        page: the page that can remove such a repository; empty if there is none.
    """
    used = select(App.repository_id)
    statement = select(Repository.full_name).where(col(Repository.id).not_in(used))
    return [Unused(name, page) for name in session.exec(statement.order_by(Repository.name_key))]


def missed_pushes(session: Session, *, every_minutes: int) -> list[MissedPushes]:
    """List the repositories of which pushes were missed, or may be missed.

    Args:
        every_minutes: how often each one is searched for missed pushes; 0: never.
    """
    statement = (
        select(Repository.full_name, CatchUp.missed, CatchUp.found)
        .join(CatchUp, col(CatchUp.repository_id) == col(Repository.id))
        .where(col(CatchUp.missed) > 0)
        .order_by(Repository.name_key)
    )
    found = [
        MissedPushes(
            name, f"pushes did not arrive and were caught up with: {in_words(missed, told)}"
        )
        for name, missed, told in session.exec(statement)
    ]
    late = search_health(session, every_minutes=every_minutes).late
    return found + [
        MissedPushes(each.repository, f"pushes may be missed: {each.problem}") for each in late
    ]


def refused_pushes(session: Session, *, since: datetime) -> list[MissedPushes]:
    """List the repositories whose recent deliveries were all refused because of the signature."""
    return [
        MissedPushes(
            wrong.repository,
            f"{_deliveries(wrong.count)} refused, the last one "
            f"{REFUSAL_WORDS[wrong.reason]}. If GitHub sent it, give its webhook there the secret "
            "that Keystone has, or Keystone the other one: `keystone webhook-secret`",
        )
        for wrong in wrong_secrets(session, since=since)
    ]


def _deliveries(count: int) -> str:
    if count == 1:
        return "1 delivery in its name was"
    return f"{count:,} deliveries in its name were"
