"""A whole Keystone's worth of rows and logs: what the browser's tests look at."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import Session, col, select

from jobs.rules.log_events import BuildEvent, LogEvent, encode
from jobs.states import (
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
    OnNewPush,
    Refusal,
    StepName,
    StepState,
    Trigger,
)
from jobs.storage.deployment_log import log_path
from jobs.storage.models import App, Deployment, RefusedDelivery, Release, now
from tests.build_events import cached, done, failed, named, output, remark
from tests.builders import change_settings
from tests.dashboard import rows

MESSAGES = (
    "Answer the health check before the cache is warm",
    "Upgrade the base image to 3.21",
    "Fix the login redirect for people with two accounts",
    "Show prices with tax",
    "Let the importer resume where it stopped",
    "Remove the old billing page, its styles and its very long list of feature flags",
)
# What is live of each app.
SUBJECTS = {
    "api": "Refuse a token that has expired",
    "docs": "Explain how to move a domain",
    "importer": "Read files of more than 2 GB",
    "shop": "Remember the basket for thirty days",
}
AUTHORS = ("Ada Lovelace", "Grace Hopper", "Linus Ek", "Zoë Müller-Ångström")
LAST_STEPS = (
    ("start", "container 4f1c0ffee123 started at 10.201.0.3:8000"),
    ("health_check", "GET /health: connection refused, trying again"),
    ("health_check", "GET /health: \x1b[32m200\x1b[0m after 3.1 s"),
    ("switch", "traffic moved, no request failed"),
    ("retire", "the old container drained in 6.2 s and was stopped"),
)
BUILD_FAILED = "build failed: process `/bin/sh -c npm ci` did not complete: exit code 1"


@dataclass(frozen=True)
class Scene:
    """The ids worth a visit."""

    running: int
    failed: int
    succeeded: int
    rolled_back: int
    superseded: int


def set_scene(session: Session, logs_dir: Path) -> Scene:
    """Fill a new database: six apps in different states, their histories, deliveries, logs."""
    dice = random.Random(7)  # noqa: S311 — the same picture every time
    shop = rows.add_app(
        session, "shop", repository="octo/shop", health_path="/health", cpus=1.5, memory_mb=1024
    )
    web = rows.add_app(session, "web", repository="octo/web", on_new_push=OnNewPush.REPLACE)
    importer = rows.add_app(session, "importer", repository="octo/data-tools", branch="stable")
    api = rows.add_app(session, "api", repository="octo/api", health_path="/ready")
    docs = rows.add_app(session, "docs", repository="octo/docs")
    rows.add_app(session, "status-page", repository="octo/status-page")
    succeeded = _history(session, shop, dice, 26)
    _history(session, web, dice, 9)
    _history(session, importer, dice, 14)
    _history(session, api, dice, 21)
    _history(session, docs, dice, 5)
    for app in (shop, web, docs):
        app.container_state = ContainerState.RUNNING
    api.container_state = ContainerState.RESTARTING
    api.container_reason = "its container exited with code 1, again and again"
    api.container_restarts = 6
    importer.container_state = ContainerState.EXITED
    importer.container_reason = "its container exited with code 137: out of memory at 512 MB"
    change_settings(web, volumes=("data:/var/lib/web",), watch_paths=("site/**",), tag_pattern="v*")
    superseded = _superseded(session, web)
    rolled_back = _rolled_back(session, importer)
    running = _running(session, shop)
    failed = _failed(session, web)
    _deliveries(session, web, running, failed)
    _refused(session, docs)
    _environment(session, web)
    _events(session, running, rolled_back)
    for deployment in (running, failed, succeeded, rolled_back):
        write_log(logs_dir, deployment)
    seen = (running, failed, succeeded, rolled_back, superseded)
    return Scene(*(deployment.id or 0 for deployment in seen))


def _history(session: Session, app: App, dice: random.Random, length: int) -> Deployment:
    states = (DeploymentState.SUCCESS,) * 7 + (
        DeploymentState.FAILURE,
        DeploymentState.SUPERSEDED,
        DeploymentState.ERROR,
        DeploymentState.CANCELLED,
    )
    for place in range(length):
        is_last = place == length - 1
        state = DeploymentState.SUCCESS if is_last else dice.choice(states)
        deployment = rows.add_deployment(
            session,
            app,
            state=state,
            ago=timedelta(hours=(length - place) * 5, minutes=dice.randrange(59)),
            took=timedelta(seconds=dice.uniform(8, 95)),
            commit_message=dice.choice(MESSAGES),
            author=dice.choice(AUTHORS),
            trigger=dice.choice((Trigger.PUSH, Trigger.PUSH, Trigger.MANUAL)),
            reason="" if state is DeploymentState.SUCCESS else f"it ended as {state}",
        )
        if state is DeploymentState.SUCCESS:
            rows.make_live(session, app, deployment)
    deployment.commit_message = SUBJECTS.get(app.name, deployment.commit_message)
    deployment.trigger = Trigger.PUSH
    if deployment.started_at:
        deployment.ended_at = deployment.started_at + timedelta(seconds=30.3)
    rows.add_steps(session, deployment, 1.2, 24.6, 0.3, 0.9, 3.1, 0.2, 6.4)
    rows.add_status(session, deployment, GitHubState.PENDING, "queued")
    rows.add_status(session, deployment, GitHubState.PENDING, "running")
    rows.add_status(session, deployment, GitHubState.SUCCESS, "live")
    return deployment


def _rolled_back(session: Session, app: App) -> Deployment:
    wanted = session.exec(
        select(Release).where(Release.app_id == app.id).order_by(col(Release.number).desc())
    ).all()[1]
    deployment = rows.add_deployment(
        session,
        app,
        ago=timedelta(minutes=48),
        took=timedelta(seconds=4),
        kind=Kind.ROLLBACK,
        trigger=Trigger.ROLLBACK,
        ref=wanted.commit_sha,
        commit_sha=wanted.commit_sha,
        commit_message=MESSAGES[3],
        actor="user:grace",
        release_id=wanted.id,
    )
    after = (StepName.START, StepName.HEALTH_CHECK, StepName.SWITCH, StepName.RETIRE)
    rows.add_steps(session, deployment, 0.6, 1.1, 0.1, 2.0, names=after)
    rows.add_status(session, deployment, GitHubState.SUCCESS, "live")
    app.live_release_id, app.live_deployment_id = wanted.id, deployment.id
    app.auto_deploy = False
    app.paused_reason = f"rolled back to v{wanted.number} by user:grace"
    return deployment


def _superseded(session: Session, app: App) -> Deployment:
    deployment = rows.add_deployment(
        session,
        app,
        state=DeploymentState.SUPERSEDED,
        ago=timedelta(minutes=12),
        commit_message="Draw the chart on the server",
        reason=f"#{app.last_deployment + 2} is a newer push",
    )
    deployment.started_at = None
    return deployment


def _refused(session: Session, app: App) -> None:
    """Add deliveries that were refused: GitHub's own, and a stranger's."""
    session.add(
        RefusedDelivery(
            repository_id=app.repository_id,
            claimed="octo/docs",
            address="140.82.112.7",
            reason=Refusal.TOO_SLOW,
            count=2,
        )
    )
    session.add(
        RefusedDelivery(
            claimed="eve/unknown",
            address="2001:db8:7::/64",
            reason=Refusal.UNKNOWN_REPOSITORY,
            count=14_000,
        )
    )


def _environment(session: Session, app: App) -> None:
    for name in ("DATABASE_URL", "SESSION_KEY", "STRIPE_KEY"):
        rows.add_variable(session, app, name, is_secret=True, ago=timedelta(days=12))
    rows.add_variable(session, app, "LOG_LEVEL", ago=timedelta(minutes=9))
    app.configuration += 1


def _events(session: Session, running: Deployment, rolled_back: Deployment) -> None:
    told: list[tuple[str, str, str, dict[str, object]]] = [
        ("user.created", "cli:root", "user:grace", {"role": "deployer"}),
        ("app.created", "cli:root", "app:web", {"repository": "octo/web"}),
        ("login.failed", "user:grace", "user:grace", {}),
        ("login.succeeded", "user:grace", "user:grace", {}),
        ("app.removed", "user:ada", "app:old-site", {}),
        ("app.changed", "user:ada", "app:web", {"fields": ["on_new_push", "volumes"]}),
        ("environment.set", "token:ci", "app:web", {"names": ["DATABASE_URL", "STRIPE_KEY"]}),
    ]
    told += [
        ("deployment.requested", one.actor, f"deployment:{one.id}", {"trigger": one.trigger})
        for one in (rolled_back, running)
    ]
    for place, (tag, actor, target, details) in enumerate(told):
        ago = timedelta(hours=(len(told) - place) * 3)
        rows.add_event(session, tag, actor=actor, target=target, ago=ago, **details)


def _running(session: Session, app: App) -> Deployment:
    deployment = rows.add_deployment(
        session,
        app,
        state=DeploymentState.RUNNING,
        ago=timedelta(seconds=19),
        commit_message="Fix the login redirect for people with two accounts\n\nCloses #318",
    )
    rows.add_steps(session, deployment, 1.4, 16, last=StepState.RUNNING)
    rows.add_status(session, deployment, GitHubState.PENDING, "running")
    return deployment


def _failed(session: Session, app: App) -> Deployment:
    deployment = rows.add_deployment(
        session,
        app,
        state=DeploymentState.FAILURE,
        ago=timedelta(minutes=11),
        took=timedelta(seconds=31),
        commit_message="Upgrade the base image to 3.21",
        author="Grace Hopper",
        reason=BUILD_FAILED,
    )
    rows.add_steps(
        session, deployment, 0.9, 29.7, last=StepState.FAILURE, reason="npm ci: exit code 1"
    )
    rows.add_status(session, deployment, GitHubState.PENDING, "queued")
    rows.add_status(
        session, deployment, GitHubState.FAILURE, "build failed", error="GitHub answered 404"
    )
    return deployment


def _deliveries(session: Session, app: App, running: Deployment, failed: Deployment) -> None:
    outcomes = (
        (DeliveryOutcome.PONG, "", "ping", ""),
        (DeliveryOutcome.IGNORED, "web deploys main, not feature/login", "push", "feature/login"),
        (DeliveryOutcome.IGNORED, "the commit message says [skip ci]", "push", "main"),
        (DeliveryOutcome.DUPLICATE, "this push was accepted before", "push", "main"),
        (DeliveryOutcome.QUEUED, "", "push", "main"),
        (DeliveryOutcome.QUEUED, "importer: auto-deploy is paused", "push", "main"),
    )
    for place, (outcome, reason, event, branch) in enumerate(outcomes):
        delivery = rows.add_delivery(
            session,
            app,
            ago=timedelta(minutes=(len(outcomes) - place) * 17),
            outcome=outcome,
            reason=reason,
            event=event,
            ref=f"refs/heads/{branch}" if branch else "",
        )
    failed.delivery_id = running.delivery_id = delivery.id
    session.flush()


def write_log(logs_dir: Path, deployment: Deployment, *, filler: int = 60) -> None:
    """Write a log such as a build makes, colours included."""
    logs_dir.mkdir(parents=True, exist_ok=True)
    at = deployment.started_at or now()
    if deployment.kind is Kind.ROLLBACK:
        _write(logs_dir, deployment, at, LAST_STEPS)
        return
    lines: list[tuple[str, str | BuildEvent]] = [
        ("checkout", f"commit {deployment.commit_sha}"),
        ("checkout", "124 files, 2.1 MB, in 1.2 s"),
        ("build", named(1, "[internal] load build definition from Dockerfile")),
        ("build", done(1, 0.0)),
        ("build", named(2, "[1/4] FROM node:22-alpine")),
        ("build", cached(2)),
        ("build", named(3, "[2/4] COPY package.json package-lock.json ./")),
        ("build", done(3, 0.1)),
        ("build", named(4, "[3/4] RUN npm ci")),
        *[
            ("build", output(4, f"fetched \x1b[36m@acme/part-{n}\x1b[0m 1.{n}.0"))
            for n in range(filler)
        ],
        (
            "build",
            output(4, "\x1b[33mwarning\x1b[0m left-pad@1.3.0: use String.prototype.padStart()"),
        ),
        ("build", output(4, "\x1b[32m✓\x1b[0m 412 packages in 9.8 s")),
    ]
    if deployment.reason:
        lines += [("build", failed(4, "exit code: 1")), ("failure", BUILD_FAILED)]
    elif deployment.state.is_over:
        lines += [("build", done(4, 9.8)), ("release", "release v18"), *LAST_STEPS]
    _write(logs_dir, deployment, at, lines)


def _write(
    logs_dir: Path,
    deployment: Deployment,
    at: datetime,
    lines: Sequence[tuple[str, str | BuildEvent]],
) -> None:
    path = log_path(logs_dir, deployment.id or 0)
    path.write_text("".join(_line(at, n, *line) for n, line in enumerate(lines)))


def _line(at: datetime, number: int, step: str, said: str | BuildEvent) -> str:
    told = remark(said) if isinstance(said, str) else said
    moment = (at + timedelta(seconds=number * 0.31)).astimezone(UTC)
    event = LogEvent(moment, step, told.kind, told.text, told.vertex, told.seconds)
    return f"{encode(event)}\n"
