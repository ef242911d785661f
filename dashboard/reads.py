"""SELECTs that only the pages need, beside those of `jobs.queries`.

Each costs one statement, whatever the number of apps.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlmodel import Session, col, select

from jobs.models import App, Deployment, EnvironmentVariable, Release, Step, now
from jobs.queries import OPEN_STATES
from jobs.states import DeploymentState, StepName, StepState

RECENT = 20  # deployments an app's chart shows


@dataclass(frozen=True)
class Recent:
    """One deployment as a chart needs it."""

    id: int
    number: int
    state: DeploymentState
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took or has taken up to now; None when it never began."""
        if self.started_at is None:
            return None
        return ((self.ended_at or now()) - self.started_at).total_seconds()


@dataclass(frozen=True)
class LiveCommit:
    """The commit that serves."""

    message: str
    author: str
    since: datetime | None


@dataclass(frozen=True)
class Work:
    """What is being done for an app now."""

    id: int
    number: int
    state: DeploymentState
    since: datetime
    step: StepName | None


@dataclass(frozen=True)
class Name:
    """What people call a deployment."""

    app: str
    number: int
    state: DeploymentState


@dataclass(frozen=True)
class VariableName:
    """An environment variable without its value, which these pages cannot open."""

    name: str
    is_secret: bool
    changed_at: datetime


@dataclass(frozen=True)
class Maker:
    """The deployment that made a release."""

    id: int
    number: int


def recent_deployments(session: Session, app_id: int | None = None) -> dict[int, list[Recent]]:
    """Give each app's last deployments, or one app's, the oldest first."""
    statement = (
        sqlalchemy.select(
            col(Deployment.app_id),
            col(Deployment.id),
            col(Deployment.number),
            col(Deployment.state),
            col(Deployment.started_at),
            col(Deployment.ended_at),
        )
        .join(App, col(App.id) == col(Deployment.app_id))
        .where(col(Deployment.number) > col(App.last_deployment) - RECENT)
        .order_by(col(Deployment.app_id), col(Deployment.number))
    )
    if app_id is not None:
        statement = statement.where(col(Deployment.app_id) == app_id)
    found: dict[int, list[Recent]] = defaultdict(list)
    # Columns and not objects: with 500 apps there are 10,000 of them.
    for owner, found_id, number, state, started_at, ended_at in session.connection().execute(
        statement
    ):
        found[owner].append(Recent(found_id or 0, number, state, started_at, ended_at))
    return found


def live_commits(session: Session) -> dict[int, LiveCommit]:
    """Give the commit that serves, by app."""
    statement = select(
        App.id, Deployment.commit_message, Deployment.author, Deployment.ended_at
    ).join(Deployment, col(Deployment.id) == col(App.live_deployment_id))
    return {
        app_id or 0: LiveCommit(message, author, since)
        for app_id, message, author, since in session.exec(statement)
    }


def work_now(session: Session) -> dict[int, Work]:
    """Give what runs for each app, or what waits for it when nothing runs."""
    statement = (
        select(Deployment, Step)
        .join(
            Step,
            (col(Step.deployment_id) == col(Deployment.id))
            & (col(Step.state) == StepState.RUNNING),
            isouter=True,
        )
        .where(col(Deployment.state).in_(OPEN_STATES))
        # "queued" before "running", so that what runs is the last one kept.
        .order_by(col(Deployment.state), col(Deployment.id))
    )
    found: dict[int, Work] = {}
    for row, step in session.exec(statement):
        since = row.started_at or row.queued_at
        # The outer join gives None, which its type does not say.
        name = step.name if step else None
        found[row.app_id] = Work(row.id or 0, row.number, row.state, since, name)
    return found


def deployment_names(session: Session, ids: Iterable[int]) -> dict[int, Name]:
    """Give the app and the number of deployments, by id."""
    statement = (
        select(Deployment, App.name)
        .join(App, col(App.id) == col(Deployment.app_id))
        .where(col(Deployment.id).in_(list(ids)))
    )
    return {row.id or 0: Name(app, row.number, row.state) for row, app in session.exec(statement)}


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
    """Give those of the names that an app has."""
    return set(session.exec(select(App.name).where(col(App.name).in_(list(names)))))
