"""SELECTs that only the pages need, in addition to those of `jobs.reads.apps`.

Each is one statement, whatever the number of apps. They select columns instead of model objects,
because making an object of every row would take longer than the query.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from jobs.reads.domains import certificate_views, find_doors
from jobs.reads.views import AppView, CertificateView
from jobs.rules.domain_names import host_header, is_covered, is_plain
from jobs.settings import Settings
from jobs.states import OPEN_STATES, DeploymentState, StepName, StepState
from jobs.storage.models import App, Deployment, EnvironmentVariable, Release, Repository, Step, now

RECENT = 20  # deployments in an app's chart
PAST = 200  # deployments from which an app's trends are computed

AnySelect = sqlalchemy.Select[*tuple[Any, ...]]


@dataclass(frozen=True)
class Recent:
    """The columns of a deployment that a chart needs."""

    id: int
    number: int
    state: DeploymentState
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken up to now; None if it never began."""
        if self.started_at is None:
            return None
        return ((self.ended_at or now()) - self.started_at).total_seconds()


@dataclass(frozen=True)
class LiveCommit:
    """The live commit."""

    message: str
    author: str
    since: datetime | None


@dataclass(frozen=True)
class WorkNow:
    """A running or queued deployment."""

    id: int
    number: int
    state: DeploymentState
    since: datetime
    step: StepName | None
    cancelled_by: str | None  # set while a cancelled deployment has not stopped yet

    @property
    def seconds(self) -> float:
        """How long it has run or waited."""
        return (now() - self.since).total_seconds()


@dataclass(frozen=True)
class Name:
    """A deployment's name: its app and its number; and its state."""

    app: str
    number: int
    state: DeploymentState


@dataclass(frozen=True)
class VariableName:
    """An environment variable without its value, which the pages cannot decrypt."""

    name: str
    is_secret: bool
    changed_at: datetime


@dataclass(frozen=True)
class ServedDomain:
    """A host name of an app."""

    name: str
    url: str  # empty: a wildcard, or the router serves no domains
    certificate: CertificateView | None


@dataclass(frozen=True)
class Maker:
    """The deployment that made a release."""

    id: int
    number: int


def recent_deployments(
    session: Session, app_ids: Collection[int], *, most: int = RECENT
) -> dict[int, list[Recent]]:
    """Give up to `most` last deployments of each of these apps, the oldest first."""
    statement: AnySelect = (
        sqlalchemy.select(
            col(Deployment.app_id),
            col(Deployment.id),
            col(Deployment.number),
            col(Deployment.state),
            col(Deployment.queued_at),
            col(Deployment.started_at),
            col(Deployment.ended_at),
        )
        .join(App, col(App.id) == col(Deployment.app_id))
        .where(
            col(App.id).in_(app_ids),
            col(Deployment.number) > col(App.last_deployment) - most,
        )
        .order_by(col(Deployment.app_id), col(Deployment.number))
    )
    found: dict[int, list[Recent]] = defaultdict(list)
    for owner, *rest in session.connection().execute(statement):
        found[owner].append(Recent(*rest))
    return found


def live_commits(session: Session, app_ids: Collection[int]) -> dict[int, LiveCommit]:
    """Give the live commits of these apps, by app id."""
    statement = (
        select(App.id, Deployment.commit_message, Deployment.author, Deployment.ended_at)
        .join(Deployment, col(Deployment.id) == col(App.live_deployment_id))
        .where(col(App.id).in_(app_ids))
    )
    return {
        app_id or 0: LiveCommit(message, author, since)
        for app_id, message, author, since in session.exec(statement)
    }


def work_now(session: Session, app_ids: Collection[int]) -> dict[int, WorkNow]:
    """Give the running deployment of each of these apps, or else a queued one."""
    statement = _open_work().where(col(Deployment.app_id).in_(app_ids))
    # "queued" sorts before "running", so a running deployment replaces a queued one.
    ordered = statement.order_by(col(Deployment.state), col(Deployment.id))
    return {app_id: WorkNow(*rest) for app_id, _, *rest in session.connection().execute(ordered)}


def running_now(session: Session, *, limit: int) -> list[tuple[str, WorkNow]]:
    """Give the running deployments of all apps, each with its app's name, the oldest first."""
    statement = _open_work().where(col(Deployment.state) == DeploymentState.RUNNING)
    ordered = statement.order_by(col(Deployment.id)).limit(limit)
    return [(name, WorkNow(*rest)) for _, name, *rest in session.connection().execute(ordered)]


def _open_work() -> AnySelect:
    since = func.coalesce(Deployment.started_at, Deployment.queued_at)
    running = (col(Step.deployment_id) == col(Deployment.id)) & (
        col(Step.state) == StepState.RUNNING
    )
    return (
        sqlalchemy.select(
            col(Deployment.app_id),
            col(App.name),
            col(Deployment.id),
            col(Deployment.number),
            col(Deployment.state),
            since,
            col(Step.name),
            col(Deployment.cancelled_by),
        )
        .join(App, col(App.id) == col(Deployment.app_id))
        .join(Step, running, isouter=True)
        .where(col(Deployment.state).in_(OPEN_STATES))
    )


def deployment_names(session: Session, ids: Iterable[int]) -> dict[int, Name]:
    """Give the names of deployments, by id."""
    statement: AnySelect = (
        sqlalchemy.select(
            col(Deployment.id), col(App.name), col(Deployment.number), col(Deployment.state)
        )
        .join(App, col(App.id) == col(Deployment.app_id))
        .where(col(Deployment.id).in_(list(ids)))
    )
    rows = session.connection().execute(statement)
    return {found_id: Name(*rest) for found_id, *rest in rows}


def variable_names(session: Session, app_id: int) -> list[VariableName]:
    """Give the names of an app's environment variables."""
    statement = (
        select(
            EnvironmentVariable.name, EnvironmentVariable.is_secret, EnvironmentVariable.changed_at
        )
        .where(EnvironmentVariable.app_id == app_id)
        .order_by(EnvironmentVariable.name)
    )
    return [VariableName(*row) for row in session.exec(statement)]


def served_domains(session: Session, app: AppView) -> list[ServedDomain]:
    """Give an app's domains, each with the certificate that the router uses for it."""
    certificates = certificate_views(session) if app.domains else []
    doors = find_doors(session)
    return [
        ServedDomain(
            name,
            doors.url([name]),
            next((each for each in certificates if is_covered(name, [each.domain])), None),
        )
        for name in app.domains
    ]


def all_certified(
    session: Session, settings: Settings
) -> tuple[ServedDomain | None, list[ServedDomain]]:
    """Give Keystone's own name with its certificate, and every other name that has one."""
    certificates = certificate_views(session, public_url=settings.public_url)
    own = host_header(settings.public_url)
    others = [ServedDomain(each.domain, "", each) for each in certificates if each.domain != own]
    if not is_plain(own):
        return None, others
    covering = [each for each in certificates if is_covered(own, [each.domain])]
    # The router prefers the name's own certificate to a wildcard's.
    covering.sort(key=lambda each: each.domain != own)
    return ServedDomain(own, settings.public_url, next(iter(covering), None)), others


def repository_names(session: Session) -> list[str]:
    """Give the names of all repositories, as GitHub spells them."""
    return list(session.exec(select(Repository.full_name).order_by(Repository.name_key)))


def git_url(session: Session, full_name: str) -> str:
    """Give the Git URL of a repository; empty if the repository is unknown."""
    statement = select(Repository.git_url).where(Repository.name_key == full_name.lower())
    return session.exec(statement).first() or ""


def maker_of(session: Session, app_id: int, release: int) -> Maker | None:
    """Give the deployment that made an app's release, by the release's number."""
    statement = (
        select(Deployment.id, Deployment.number)
        .join(Release, col(Release.deployment_id) == col(Deployment.id))
        .where(Release.app_id == app_id, Release.number == release)
    )
    found = session.exec(statement).first()
    return Maker(found[0] or 0, found[1]) if found else None


def existing_apps(session: Session, names: Iterable[str]) -> set[str]:
    """Give those of the names that belong to an app."""
    return set(session.exec(select(App.name).where(col(App.name).in_(list(names)))))
