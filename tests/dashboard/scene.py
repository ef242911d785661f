"""A whole Keystone's worth of rows and logs: what the browser's tests look at."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlmodel import Session

from jobs.logs import log_path
from jobs.models import App, Deployment, now
from jobs.states import (
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    StepState,
    Trigger,
)
from tests.dashboard import rows

MESSAGES = (
    "Answer the health check before the cache is warm",
    "Upgrade the base image to 3.21",
    "Fix the login redirect for people with two accounts",
    "Show prices with tax",
    "Let the importer resume where it stopped",
    "Remove the old billing page, its styles and its very long list of feature flags",
)
AUTHORS = ("Ada Lovelace", "Grace Hopper", "Linus Ek", "Zoë Müller-Ångström")
BUILD_FAILED = "build failed: process `/bin/sh -c npm ci` did not complete: exit code 1"


@dataclass(frozen=True)
class Scene:
    """The ids worth a visit."""

    running: int
    failed: int
    succeeded: int


def set_scene(session: Session, logs_dir: Path) -> Scene:
    """Fill a new database: four apps in different states, their histories, deliveries, logs."""
    dice = random.Random(7)  # noqa: S311 — the same picture every time
    shop = rows.add_app(session, "shop", repository="octo/shop", health_path="/health", cpus=1.5)
    web = rows.add_app(session, "web", repository="octo/web")
    importer = rows.add_app(session, "importer", repository="octo/data-tools", auto_deploy=False)
    rows.add_app(session, "status-page", repository="octo/status-page")
    succeeded = _history(session, shop, dice, 26)
    _history(session, web, dice, 9)
    _history(session, importer, dice, 14)
    importer.container_state = ContainerState.EXITED
    importer.container_reason = "the container exited with code 137: out of memory at 512 MB"
    running = _running(session, shop)
    failed = _failed(session, web)
    _deliveries(session, web, running, failed)
    for deployment in (running, failed, succeeded):
        write_log(logs_dir, deployment)
    return Scene(running.id or 0, failed.id or 0, succeeded.id or 0)


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
    rows.add_steps(session, deployment, 1.2, 24.6, 0.3, 0.9, 3.1, 0.2, 6.4)
    rows.add_status(session, deployment, GitHubState.PENDING, "queued")
    rows.add_status(session, deployment, GitHubState.PENDING, "running")
    rows.add_status(session, deployment, GitHubState.SUCCESS, "live")
    return deployment


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
    lines = [
        ("checkout", f"commit {deployment.commit_sha}"),
        ("checkout", "124 files, 2.1 MB, in 1.2 s"),
        ("build", "\x1b[1m[1/6]\x1b[0m FROM node:22-alpine"),
        ("build", "\x1b[1m[2/6]\x1b[0m COPY package.json package-lock.json ./"),
        ("build", "\x1b[2mCACHED\x1b[0m"),
        ("build", "\x1b[1m[3/6]\x1b[0m RUN npm ci"),
        *[("build", f"  fetched \x1b[36m@acme/part-{n}\x1b[0m 1.{n}.0") for n in range(filler)],
        ("build", "\x1b[33mwarning\x1b[0m left-pad@1.3.0: use String.prototype.padStart()"),
        ("build", "\x1b[32m✓\x1b[0m 412 packages in 9.8 s"),
    ]
    if deployment.reason:
        lines.append(("build", f"\x1b[1;31merror\x1b[0m {BUILD_FAILED}"))
    elif deployment.state.is_over:
        lines += [
            ("release", "release v12"),
            ("start", "container started on port 8000"),
            ("health_check", "GET /health: connection refused, trying again"),
            ("health_check", "GET /health: \x1b[32m200\x1b[0m after 3.1 s"),
            ("switch", "traffic moved, no request failed"),
            ("retire", "the old container drained in 6.2 s and was stopped"),
        ]
    stamped = [
        f"{_stamp(at + timedelta(seconds=n * 0.31))} {step} | {text}\n"
        for n, (step, text) in enumerate(lines)
    ]
    log_path(logs_dir, deployment.id or 0).write_text("".join(stamped))


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
