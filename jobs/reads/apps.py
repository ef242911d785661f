"""SELECTs about apps, returned as the views of `jobs.reads.views`.

Every list is bounded and reads along an index, so that its cost does not grow with the tables.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, and_, col, or_, select

from jobs.errors import NotFoundError
from jobs.reads.app_settings import app_settings
from jobs.reads.domains import Doors, domains_by_app, find_doors
from jobs.reads.paging import unindexed
from jobs.reads.repositories import repositories_with_token
from jobs.reads.views import AppView, WebhookView
from jobs.reads.warm import is_warm
from jobs.rules.app_fields import PARTS
from jobs.rules.container_values import container_words
from jobs.rules.ip_addresses import is_everywhere, join_address
from jobs.rules.naming import WEBHOOK_PATH
from jobs.rules.payload_url import payload_url_problem
from jobs.rules.reasons import failure_words
from jobs.rules.token_trouble import token_problem
from jobs.settings import Settings
from jobs.states import (
    FAILED_STATES,
    OPEN_STATES,
    AppState,
    ContainerState,
    DeploymentState,
    Trigger,
)
from jobs.storage.models import App, Deployment, Release, Repository, now

APP_FIELDS = App.model_fields.keys() - PARTS.keys()


@dataclass(frozen=True)
class _RunningRelease:
    """The parts of a live or warm release that an app's view shows."""

    number: int
    commit_sha: str
    configuration: int
    container_port: int


@dataclass(frozen=True)
class _Surroundings:
    """The data of an app's view that is not in the app's row."""

    repository: Repository
    token_set: bool
    release: _RunningRelease | None
    warm: _RunningRelease | None
    state: tuple[AppState, str]
    domains: list[str]
    doors: Doors


# --- Apps ------------------------------------------------------------------------------------


def find_app(session: Session, name: str) -> App:
    """Give the app of that name.

    Raises:
        NotFoundError: no app has that name.
    """
    app = session.exec(select(App).where(App.name == name)).first()
    if app is None:
        raise NotFoundError(f"there is no app named {name!r}; `keystone app list` shows them")
    return app


def app_view(session: Session, name: str, settings: Settings) -> AppView:
    """Describe one app.

    Raises:
        NotFoundError: no app has that name.
    """
    return view_of(session, find_app(session, name), settings)


def view_of(session: Session, app: App, settings: Settings) -> AppView:
    """Describe an app whose row is already loaded."""
    return _app_views(session, [app], settings)[0]


def app_views(
    session: Session, settings: Settings, names: Collection[str] | None = None
) -> list[AppView]:
    """Describe all apps, or those with these names, sorted by name."""
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
    releases = _running_releases(session, apps)
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
                warm=releases.get(app.fallback_release_id) if is_warm(app) else None,
                state=app_state(app, failures.get(app.id or 0, ""), is_deploying=app.id in opened),
                domains=domains[app.id or 0],
                doors=doors,
            ),
        )
        for app in apps
    ]


def apps_with_open_deployments(session: Session) -> set[int]:
    """Give the ids of the apps that have a queued or running deployment."""
    statement = select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES))
    return set(session.exec(statement.distinct()).all())


def failed_updates(session: Session, app_ids: Collection[int]) -> dict[int, str]:
    """Give the reason why an app's last deployment failed, by app id; omit the other apps.

    A recovery counts too, because the deployment before it failed.
    """
    statement = (
        select(Deployment.app_id, Deployment.number, Deployment.state, Deployment.reason)
        .join(
            App,
            (col(App.id) == Deployment.app_id) & (col(App.last_deployment) == Deployment.number),
        )
        # Filter by ids so that the database starts from the apps, and reads neither all deployments
        # nor, along the index of states, all failures.
        .where(col(App.id).in_(app_ids), has_bad_news())
    )
    return {
        app_id: failure_words(number, DeploymentState(state), reason)
        for app_id, number, state, reason in session.exec(statement).all()
    }


def has_bad_news() -> ColumnElement[bool]:
    """Give the condition for failed deployments and for recoveries from a failed one."""
    return or_(
        unindexed(Deployment.state).in_(FAILED_STATES),
        and_(
            unindexed(Deployment.state) == DeploymentState.SUCCESS,
            unindexed(Deployment.trigger) == Trigger.RECOVERY,
        ),
    )


def _running_releases(session: Session, apps: Sequence[App]) -> dict[int | None, _RunningRelease]:
    ids = {app.live_release_id for app in apps}
    ids |= {app.fallback_release_id for app in apps if is_warm(app)}
    # Select columns, not rows: a release's row holds its whole sealed environment.
    columns = (Release.number, Release.commit_sha, Release.configuration, Release.container)
    found = session.execute(
        select_columns(col(Release.id), *map(col, columns)).where(col(Release.id).in_(ids - {None}))
    )
    return {
        release_id: _RunningRelease(number, commit_sha, configuration, container.port)
        for release_id, number, commit_sha, configuration, container in found
    }


class Served(Protocol):
    """An app's live release and the state of its container."""

    @property
    def live_release_id(self) -> int | None:
        """The id of the live release."""

    @property
    def container_state(self) -> ContainerState | None:
        """The container's state, as Docker reported it last."""

    @property
    def container_reason(self) -> str:
        """The container's problem, without a number."""

    @property
    def container_restarts(self) -> int | None:
        """The number of restarts that the reason is about."""


def container_trouble(app: Served) -> str:
    """Describe the problem of an app's live container; "" if there is none."""
    return container_words(app.container_state, app.container_reason, app.container_restarts)


def app_state(app: Served, failed: str, *, is_deploying: bool) -> tuple[AppState, str]:
    """Give an app's state and the reason for it.

    Args:
        failed: the reason why its last deployment failed; empty if it did not fail.
    """
    if is_deploying:
        return AppState.DEPLOYING, failed
    if app.live_release_id is None:
        return (AppState.FAILING, failed) if failed else (AppState.NEW, "")
    match app.container_state:
        case ContainerState.EXITED | ContainerState.MISSING:
            return AppState.STOPPED, container_trouble(app)
        case ContainerState.RESTARTING:
            return AppState.FAILING, container_trouble(app)
        case ContainerState.RUNNING if app.container_reason:
            return AppState.FAILING, container_trouble(app)
        case ContainerState.RUNNING | None:
            return AppState.RUNNING, failed


def _app_view(app: App, settings: Settings, around: _Surroundings) -> AppView:
    repository, release = around.repository, around.release
    state, reason = around.state
    # Not validated again: values that were valid when set must be shown even if a later version
    # has narrowed a bound.
    return AppView.model_construct(
        **(app.model_dump(include=AppView.model_fields.keys() & APP_FIELDS) | app_settings(app)),
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
        live_container_port=release.container_port if release else None,
        warm_release=around.warm.number if around.warm else None,
        url=around.doors.url(around.domains) or app_url(settings, app.host_port),
        needs_redeploy=release is not None and release.configuration != app.configuration,
        webhook=WebhookView(url=webhook_url(settings), problem=webhook_problem(settings)),
    )


def app_url(settings: Settings, host_port: int) -> str:
    """Give the URL of an app on its own port."""
    host = settings.app_bind
    if is_everywhere(host):
        host = urlsplit(settings.effective_public_url).hostname or ""
    return f"http://{join_address(host, host_port)}"


def webhook_url(settings: Settings) -> str:
    """Give the URL that GitHub must send deliveries to."""
    return f"{settings.effective_public_url}{WEBHOOK_PATH}"


def webhook_problem(settings: Settings) -> str:
    """Say why GitHub cannot reach that URL, or not safely; "" if nothing is wrong."""
    return payload_url_problem(webhook_url(settings), settings.github_api_url)


# --- Deployments -----------------------------------------------------------------------------


def compressed_ports(session: Session) -> set[int]:
    """Give the ports of the apps whose answers the router compresses."""
    return {app.host_port for app in session.exec(select(App)).all() if app.container.gzip}
