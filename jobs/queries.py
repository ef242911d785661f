"""SELECTs only: what is known, as the views of `jobs.views`.

Every list is bounded and walks an index, so that a page costs the same with a thousand times the
rows.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from jobs.addresses import Doors, domains_by_app, find_doors
from jobs.errors import NotFoundError
from jobs.models import (
    App,
    AuditEvent,
    CommitStatus,
    Delivery,
    Deployment,
    Release,
    Repository,
    RepositorySecret,
    SecretKind,
    Step,
    now,
)
from jobs.settings import Settings
from jobs.states import AppState, ContainerState, DeploymentState, StepName, Trigger
from jobs.views import (
    AppView,
    AuditEventView,
    DeliveryView,
    DeploymentView,
    Page,
    RepositoryView,
    StatusView,
    StepView,
    WebhookView,
)

OPEN_STATES = (DeploymentState.QUEUED, DeploymentState.RUNNING)
FAILED_STATES = (DeploymentState.FAILURE, DeploymentState.ERROR)
LARGEST_PAGE = 100


@dataclass(frozen=True)
class DeploymentFilter:
    """Which deployments a list shows; None means any."""

    app: str | None = None
    state: DeploymentState | None = None
    trigger: Trigger | None = None
    limit: int = 20
    before: int | None = None  # the id of the last one already seen


@dataclass(frozen=True)
class _Surroundings:
    """What an app's view tells besides the app's own row."""

    repository: Repository
    token_set: bool
    release: Release | None  # the live one
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


def app_views(session: Session, settings: Settings) -> list[AppView]:
    """Describe every app, by name."""
    apps = session.exec(select(App).order_by(App.name)).all()
    return _app_views(session, apps, settings)


def _app_views(session: Session, apps: Sequence[App], settings: Settings) -> list[AppView]:
    repositories = {row.id: row for row in session.exec(select(Repository)).all()}
    tokens = repositories_with_token(session)
    latest = _latest_deployments(session, apps)
    opened = set(
        session.exec(
            select(Deployment.app_id).where(col(Deployment.state).in_(OPEN_STATES)).distinct()
        ).all()
    )
    live_ids = [app.live_release_id for app in apps if app.live_release_id]
    releases = {
        row.id: row
        for row in session.exec(select(Release).where(col(Release.id).in_(live_ids))).all()
    }
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
                state=app_state(app, latest.get(app.id), is_deploying=app.id in opened),
                domains=domains[app.id or 0],
                doors=doors,
            ),
        )
        for app in apps
    ]


def _latest_deployments(session: Session, apps: Sequence[App]) -> dict[int | None, Deployment]:
    statement = select(Deployment).join(
        App,
        (col(App.id) == Deployment.app_id) & (col(App.last_deployment) == Deployment.number),
    )
    if len(apps) == 1:
        statement = statement.where(Deployment.app_id == apps[0].id)
    return {row.app_id: row for row in session.exec(statement).all()}


def app_state(app: App, latest: Deployment | None, *, is_deploying: bool) -> tuple[AppState, str]:
    """Say how an app stands, and why, from its rows."""
    failed = ""
    if latest is not None and latest.state in FAILED_STATES:
        failed = f"deployment #{latest.number} failed: {latest.reason}"
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
    limit = min(max(wanted.limit, 1), LARGEST_PAGE)
    statement = select(Deployment).order_by(col(Deployment.id).desc()).limit(limit + 1)
    if wanted.app is not None:
        statement = statement.where(Deployment.app_id == find_app(session, wanted.app).id)
    if wanted.state is not None:
        statement = statement.where(Deployment.state == wanted.state)
    if wanted.trigger is not None:
        statement = statement.where(Deployment.trigger == wanted.trigger)
    if wanted.before is not None:
        statement = statement.where(col(Deployment.id) < wanted.before)
    rows = session.exec(statement).all()
    views = _deployment_views(session, rows[:limit])
    return Page(items=views, next=views[-1].id if len(rows) > limit else None)


def _deployment_views(session: Session, rows: Sequence[Deployment]) -> list[DeploymentView]:
    ids = [row.id for row in rows]
    app_ids = {row.app_id for row in rows}
    apps = {a.id: a.name for a in session.exec(select(App).where(col(App.id).in_(app_ids))).all()}
    release_ids = [row.release_id for row in rows if row.release_id]
    releases = {
        row.id: row.number
        for row in session.exec(select(Release).where(col(Release.id).in_(release_ids))).all()
    }
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
            duration_s=_duration_s(row.started_at, row.ended_at),
            steps=sorted(steps[row.id or 0], key=lambda step: order.index(step.name)),
            statuses=statuses[row.id or 0],
        )
        for row in rows
    ]


def _duration_s(started_at: datetime | None, ended_at: datetime | None) -> float | None:
    if started_at is None:
        return None
    return round(((ended_at or now()) - started_at).total_seconds(), 3)


# --- Repositories, deliveries, audit ---------------------------------------------------------


def repositories_with_token(session: Session) -> set[int]:
    """Give the ids of the repositories that have a token of their own."""
    statement = select(RepositorySecret.repository_id).where(
        RepositorySecret.kind == SecretKind.TOKEN
    )
    return set(session.exec(statement).all())


def repository_views(session: Session) -> list[RepositoryView]:
    """Describe every repository, by name."""
    tokens = repositories_with_token(session)
    apps: dict[int, list[str]] = defaultdict(list)
    for app in session.exec(select(App).order_by(App.name)).all():
        apps[app.repository_id].append(app.name)
    rows = session.exec(select(Repository).order_by(Repository.name_key)).all()
    return [
        RepositoryView(
            **row.model_dump(include=set(RepositoryView.model_fields)),
            token_set=row.id in tokens,
            apps=apps[row.id or 0],
        )
        for row in rows
    ]


def delivery_page(
    session: Session,
    *,
    limit: int = 20,
    before: int | None = None,
    repository_id: int | None = None,
) -> Page[DeliveryView]:
    """List deliveries, newest first."""
    limit = min(max(limit, 1), LARGEST_PAGE)
    statement = select(Delivery).order_by(col(Delivery.id).desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(col(Delivery.id) < before)
    if repository_id is not None:
        statement = statement.where(Delivery.repository_id == repository_id)
    rows = session.exec(statement).all()
    views = _delivery_views(session, rows[:limit])
    return Page(items=views, next=views[-1].id if len(rows) > limit else None)


def _delivery_views(session: Session, rows: Sequence[Delivery]) -> list[DeliveryView]:
    ids = [row.id for row in rows]
    led_to: dict[int | None, list[int]] = defaultdict(list)
    for delivery_id, deployment_id in session.exec(
        select(Deployment.delivery_id, Deployment.id).where(col(Deployment.delivery_id).in_(ids))
    ).all():
        led_to[delivery_id].append(deployment_id or 0)
    names = {row.id: row.full_name for row in session.exec(select(Repository)).all()}
    return [
        DeliveryView(
            **row.model_dump(include=set(DeliveryView.model_fields)),
            repository=names.get(row.repository_id),
            deployments=sorted(led_to[row.id]),
        )
        for row in rows
    ]


def audit_page(
    session: Session,
    *,
    limit: int = 50,
    before: int | None = None,
    actor: str | None = None,
    tag: str | None = None,
) -> Page[AuditEventView]:
    """List audit events, newest first.

    Args:
        actor: only what this one did, like `user:ada`.
        tag: only events whose tag begins so, like `deployment` or `login.failed`.
    """
    limit = min(max(limit, 1), LARGEST_PAGE)
    statement = select(AuditEvent).order_by(col(AuditEvent.id).desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(col(AuditEvent.id) < before)
    if actor is not None:
        statement = statement.where(AuditEvent.actor == actor)
    if tag is not None:
        statement = statement.where(col(AuditEvent.tag).startswith(tag, autoescape=True))
    rows = session.exec(statement).all()
    views = [AuditEventView.model_validate(row.model_dump()) for row in rows[:limit]]
    return Page(items=views, next=views[-1].id if len(rows) > limit else None)
