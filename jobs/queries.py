"""SELECTs only: what is known, as the views of `jobs.views`.

Every list is bounded and walks an index, so that a page costs the same with a thousand times the
rows.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select

from jobs.addresses import Doors, domains_by_app, find_doors
from jobs.errors import NotFoundError
from jobs.models import (
    App,
    CommitStatus,
    Deployment,
    Release,
    Repository,
    Step,
    now,
)
from jobs.paging import Walk, unindexed, walk_back
from jobs.repositories import repositories_with_token
from jobs.settings import Settings
from jobs.states import AppState, ContainerState, DeploymentState, StepName, Trigger
from jobs.tokens import token_problem
from jobs.views import (
    AppView,
    DeploymentView,
    Page,
    StatusView,
    StepView,
    WebhookView,
)

OPEN_STATES = (DeploymentState.QUEUED, DeploymentState.RUNNING)
FAILED_STATES = (DeploymentState.FAILURE, DeploymentState.ERROR)


@dataclass(frozen=True)
class DeploymentFilter:
    """Which deployments a list shows; None means any."""

    app: str | None = None
    state: DeploymentState | None = None
    trigger: Trigger | None = None
    author: str | None = None  # some part of the name
    text: str | None = None  # some part of the message or the ref, or how the commit's id begins
    limit: int = 20
    before: int | None = None  # the id of the last one already seen


@dataclass(frozen=True)
class _LiveRelease:
    """What an app's view tells of the release that serves."""

    number: int
    commit_sha: str
    configuration: int


@dataclass(frozen=True)
class _Surroundings:
    """What an app's view tells besides the app's own row."""

    repository: Repository
    token_set: bool
    release: _LiveRelease | None
    state: tuple[AppState, str]
    domains: list[str]
    doors: Doors


# --- Apps ------------------------------------------------------------------------------------


def find_app(session: Session, name: str) -> App:
    """Give the app of that name.

    Raises:
        NotFoundError: there is none.
    """
    app = session.exec(select(App).where(App.name == name)).first()
    if app is None:
        raise NotFoundError(f"there is no app named {name!r}; `keystone app list` shows them")
    return app


def app_view(session: Session, name: str, settings: Settings) -> AppView:
    """Describe one app.

    Raises:
        NotFoundError: there is none of that name.
    """
    return _app_views(session, [find_app(session, name)], settings)[0]


def app_views(
    session: Session, settings: Settings, names: Collection[str] | None = None
) -> list[AppView]:
    """Describe every app, or those of these names, in the order of their names."""
    statement = select(App).order_by(App.name)
    if names is not None:
        statement = statement.where(col(App.name).in_(names))
    return _app_views(session, session.exec(statement).all(), settings)


def _app_views(session: Session, apps: Sequence[App], settings: Settings) -> list[AppView]:
    ids = {app.repository_id for app in apps}
    repositories = {
        row.id: row
        for row in session.exec(select(Repository).where(col(Repository.id).in_(ids))).all()
    }
    tokens = repositories_with_token(session)
    failures = failed_updates(session, [app.id or 0 for app in apps])
    opened = apps_with_open_deployments(session)
    releases = _live_releases(session, apps)
    doors = find_doors(session)
    domains = domains_by_app(session, [app.id for app in apps])
    return [
        _app_view(
            app,
            settings,
            _Surroundings(
                repository=repositories[app.repository_id],
                token_set=app.repository_id in tokens,
                release=releases.get(app.live_release_id),
                state=app_state(app, failures.get(app.id or 0, ""), is_deploying=app.id in opened),
                domains=domains[app.id or 0],
                doors=doors,
            ),
        )
        for app in apps
    ]


def apps_with_open_deployments(session: Session) -> set[int]:
    """Give the ids of the apps for which something waits or runs."""
    statement = select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES))
    return set(session.exec(statement.distinct()).all())


def failed_updates(session: Session, app_ids: Collection[int]) -> dict[int, str]:
    """Say why the last deployment of these apps failed, by app; the others are left out.

    A recovery is told of as well: the deployment before it failed.
    """
    statement = (
        select(Deployment.app_id, Deployment.number, Deployment.state, Deployment.reason)
        .join(
            App,
            (col(App.id) == Deployment.app_id) & (col(App.last_deployment) == Deployment.number),
        )
        # The ids have a database begin at the apps, and not read every deployment there ever was;
        # nor every failure, by the index of the states.
        .where(col(App.id).in_(app_ids), has_bad_news())
    )
    return {
        app_id: failure_words(number, DeploymentState(state), reason)
        for app_id, number, state, reason in session.exec(statement).all()
    }


def has_bad_news() -> ColumnElement[bool]:
    """Choose the deployments that failed, and those that took a failed one's place."""
    return or_(
        unindexed(Deployment.state).in_(FAILED_STATES),
        and_(
            unindexed(Deployment.state) == DeploymentState.SUCCESS,
            unindexed(Deployment.trigger) == Trigger.RECOVERY,
        ),
    )


def failure_words(number: int, state: DeploymentState, reason: str) -> str:
    """Say what is wrong with an app's last deployment."""
    return reason if state is DeploymentState.SUCCESS else f"deployment #{number} failed: {reason}"


def _live_releases(session: Session, apps: Sequence[App]) -> dict[int | None, _LiveRelease]:
    ids = [app.live_release_id for app in apps if app.live_release_id]
    # Columns and not rows: a release carries a whole sealed environment.
    statement = select(Release.id, Release.number, Release.commit_sha, Release.configuration).where(
        col(Release.id).in_(ids)
    )
    return {
        release_id: _LiveRelease(number, commit_sha, configuration)
        for release_id, number, commit_sha, configuration in session.exec(statement).all()
    }


class Served(Protocol):
    """What is live of an app, and how its container is."""

    @property
    def live_release_id(self) -> int | None:
        """The release that serves."""

    @property
    def container_state(self) -> ContainerState | None:
        """What Docker last said."""

    @property
    def container_reason(self) -> str:
        """What is wrong with it, in a sentence."""


def app_state(app: Served, failed: str, *, is_deploying: bool) -> tuple[AppState, str]:
    """Say how an app stands, and why.

    Args:
        failed: why its last deployment failed; empty when it did not.
    """
    if is_deploying:
        return AppState.DEPLOYING, failed
    if app.live_release_id is None:
        return (AppState.FAILING, failed) if failed else (AppState.NEW, "")
    match app.container_state:
        case ContainerState.EXITED | ContainerState.MISSING:
            return AppState.STOPPED, app.container_reason
        case ContainerState.RESTARTING:
            return AppState.FAILING, app.container_reason
        case ContainerState.RUNNING if app.container_reason:
            return AppState.FAILING, app.container_reason
        case ContainerState.RUNNING | None:
            return AppState.RUNNING, failed


def _app_view(app: App, settings: Settings, around: _Surroundings) -> AppView:
    repository, release = around.repository, around.release
    state, reason = around.state
    return AppView(
        **app.model_dump(include=set(AppView.model_fields) & set(App.model_fields)),
        repository=repository.full_name,
        git_url=repository.git_url,
        token_set=around.token_set,
        token_problem=token_problem(
            repository.token_problem, repository.token_expires_at, at=now()
        ),
        token_expires_at=repository.token_expires_at,
        domains=around.domains,
        state=state,
        state_reason=reason,
        live_deployment=app.live_deployment_id,
        live_release=release.number if release else None,
        live_commit_sha=release.commit_sha if release else None,
        url=around.doors.url(around.domains) or app_url(settings, app.host_port),
        needs_redeploy=release is not None and release.configuration != app.configuration,
        webhook=WebhookView(url=webhook_url(settings)),
    )


def app_url(settings: Settings, host_port: int) -> str:
    """Give the address at which an app answers on its own port."""
    host = settings.app_bind
    if host in {"0.0.0.0", "::", "*"}:  # noqa: S104 — recognised, not bound
        host = settings.effective_public_url.partition("://")[2].partition(":")[0].partition("/")[0]
    return f"http://{f'[{host}]' if ':' in host else host}:{host_port}"


def webhook_url(settings: Settings) -> str:
    """Give the address that GitHub must send deliveries to."""
    return f"{settings.effective_public_url}/webhooks/github"


# --- Deployments -----------------------------------------------------------------------------


def find_deployment(session: Session, deployment_id: int) -> Deployment:
    """Give the deployment with that id.

    Raises:
        NotFoundError: there is none.
    """
    deployment = session.get(Deployment, deployment_id)
    if deployment is None:
        raise NotFoundError(f"there is no deployment with the id {deployment_id}")
    return deployment


def deployment_view(session: Session, deployment_id: int) -> DeploymentView:
    """Describe one deployment.

    Raises:
        NotFoundError: there is none with that id.
    """
    return _deployment_views(session, [find_deployment(session, deployment_id)])[0]


def deployment_page(session: Session, wanted: DeploymentFilter) -> Page[DeploymentView]:
    """List deployments, newest first.

    Raises:
        NotFoundError: the filter names an app that does not exist.
    """
    rows, following = deployment_rows(session, wanted)
    return Page(items=_deployment_views(session, rows), next=following)


def deployment_rows(
    session: Session, wanted: DeploymentFilter
) -> tuple[list[Deployment], int | None]:
    """Give the rows of a list of deployments, and the cursor of its next page.

    Raises:
        NotFoundError: the filter names an app that does not exist.
    """
    along, narrow = _conditions(session, wanted)
    walk = Walk(wanted.limit, wanted.before, along, narrow)
    return walk_back(session, select(Deployment), col(Deployment.id), walk)


def _conditions(
    session: Session, wanted: DeploymentFilter
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Give what an index knows of a filter, and what it does not.

    There is an index for the state and one for the trigger, but none for both.
    """
    along, narrow = [], []
    if wanted.app is not None:
        along.append(col(Deployment.app_id) == find_app(session, wanted.app).id)
    if wanted.state is not None:
        along.append(col(Deployment.state) == wanted.state)
    if wanted.trigger is not None and wanted.state is None:
        along.append(col(Deployment.trigger) == wanted.trigger)
    if wanted.trigger is not None and wanted.state is not None:
        narrow.append(unindexed(Deployment.trigger) == wanted.trigger)
    if wanted.author:
        narrow.append(col(Deployment.author).icontains(wanted.author, autoescape=True))
    if wanted.text:
        narrow.append(_says(wanted.text))
    return along, narrow


def _says(text: str) -> ColumnElement[bool]:
    return or_(
        col(Deployment.commit_message).icontains(text, autoescape=True),
        col(Deployment.ref).icontains(text, autoescape=True),
        col(Deployment.commit_sha).startswith(text.lower(), autoescape=True),
    )


def _deployment_views(session: Session, rows: Sequence[Deployment]) -> list[DeploymentView]:
    ids = [row.id for row in rows]
    app_ids = {row.app_id for row in rows}
    apps = dict(session.exec(select(App.id, App.name).where(col(App.id).in_(app_ids))).all())
    release_ids = [row.release_id for row in rows if row.release_id]
    releases = dict(
        session.exec(
            select(Release.id, Release.number).where(col(Release.id).in_(release_ids))
        ).all()
    )
    steps: dict[int, list[StepView]] = defaultdict(list)
    for step in session.exec(select(Step).where(col(Step.deployment_id).in_(ids))).all():
        steps[step.deployment_id].append(StepView.model_validate(step.model_dump()))
    statuses: dict[int, list[StatusView]] = defaultdict(list)
    for status in session.exec(
        select(CommitStatus)
        .where(col(CommitStatus.deployment_id).in_(ids))
        .order_by(col(CommitStatus.id))
    ).all():
        statuses[status.deployment_id].append(StatusView.model_validate(status.model_dump()))
    order = list(StepName)
    return [
        DeploymentView(
            **row.model_dump(
                include=set(DeploymentView.model_fields) & set(Deployment.model_fields)
            ),
            app=apps[row.app_id],
            release=releases.get(row.release_id),
            duration_s=duration_s(row.started_at, row.ended_at),
            steps=sorted(steps[row.id or 0], key=lambda step: order.index(step.name)),
            statuses=statuses[row.id or 0],
        )
        for row in rows
    ]


def duration_s(started_at: datetime | None, ended_at: datetime | None) -> float | None:
    """Give the seconds something took, or has taken up to now; None when it never began."""
    if started_at is None:
        return None
    return round(((ended_at or now()) - started_at).total_seconds(), 3)
