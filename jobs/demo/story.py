"""The demo from beginning to end, with a message for each event."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.demo.github import REPOSITORY, deliver_push
from jobs.demo.house import clear_engine, demo_environment, running
from jobs.demo.sample import Change, Sample
from jobs.demo.traffic import Tally, ask, visitors
from jobs.errors import DeploymentError, PlatformError
from jobs.processes.data_ownership import let_in
from jobs.processes.runtime import Runtime, open_runtime
from jobs.reads.apps import app_url, webhook_url
from jobs.reads.deployments import deployment_view
from jobs.reads.secrets import webhook_secrets
from jobs.reads.views import DeploymentView
from jobs.records.apps import add_app, remove_app
from jobs.rules.actors import Actor
from jobs.rules.app_fields import AppInput
from jobs.settings import AllSettings
from jobs.states import ActorKind, DeploymentState
from jobs.storage.models import App
from jobs.system.part_users import ROOT, find_users
from jobs.system.private_folder import ensure_private

Say = Callable[[str], None]

APP = "hello"
ACTOR = Actor(ActorKind.CLI, "demo")
DEPLOYED_WITHIN_S = 180
LOOK_EVERY_S = 0.05
# Traffic before and after the push's deployment, so that both releases answer requests.
SETTLE_S = 1.0


@dataclass(frozen=True)
class Stage:
    """Everything that the demo needs while it runs."""

    keystone: Runtime[AllSettings]
    sample: Sample
    webhook_secret: SecretStr
    app_url: str
    say: Say


def run_demo(folder: Path, environ: Mapping[str, str], say: Say, *, stay: bool) -> None:
    """Run the demo and stop everything; with `stay`, keep it up until it is interrupted.

    Raises:
        KeystoneError: something went wrong; everything is stopped then, too.
    """
    sample = _sample(folder)
    sample.prepare()
    say(f"The sample app's repository is {sample.url}")
    with running(folder, demo_environment(folder, environ)) as chosen:
        say(f"Keystone is up at {chosen.effective_public_url}")
        keystone = open_runtime(chosen)
        try:
            stage = Stage(keystone, sample, *ensure_app(keystone, sample.url), say)
            deploy_first(stage)
            deploy_under_traffic(stage)
            with suppress(KeyboardInterrupt):
                _farewell(stage)
                if stay:
                    threading.Event().wait()
            say("Stopping")
        finally:
            clear_engine(keystone, APP)
            keystone.database.close()
    say("Stopped")


def _sample(folder: Path) -> Sample:
    """Return the sample app's repository, readable by the user that the workers run as."""
    ensure_private(folder)
    users = find_users() if os.getuid() == ROOT else None
    if users is None:
        return Sample(folder / "sample")
    for each in (folder.parent, folder):
        let_in(each, users)
    return Sample(folder / "sample", users.work.gid)


def ensure_app(keystone: Runtime[AllSettings], git_url: str) -> tuple[SecretStr, str]:
    """Add the sample app if it is missing; return its webhook secret and its URL."""
    with keystone.database.writing() as session:
        app = _find_usable(session, keystone.settings)
        if app is None:
            wanted = AppInput(
                name=APP, repository=REPOSITORY, git_url=git_url, health_path="/health"
            )
            app = add_app(
                session, wanted, ACTOR, settings=keystone.settings, vault=keystone.vault
            ).app
        secret = webhook_secrets(session, app.repository_id, keystone.vault)[0]
        return secret, app_url(keystone.settings, app.host_port)


def _find_usable(session: Session, settings: AllSettings) -> App | None:
    """Return an earlier demo's app; remove it when its port is outside the present port range.

    The range is chosen anew each time, from ports that no other program has taken.
    """
    app = session.exec(select(App).where(App.name == APP)).first()
    if app is None or app.host_port in settings.port_range:
        return app
    remove_app(session, app, ACTOR)
    session.flush()
    return None


def deploy_first(stage: Stage) -> None:
    """Push a version, and check that the app answers with its commit."""
    change = stage.sample.commit()
    stage.say(f"Pushing {change.sha[:8]}: {change.message}")
    _push_and_wait(stage, change)
    _expect(stage, change)


def deploy_under_traffic(stage: Stage) -> None:
    """Push another version while visitors send requests to the app all the time."""
    change = stage.sample.commit()
    with visitors(stage.app_url) as tally:
        time.sleep(SETTLE_S)
        stage.say(f"Pushing {change.sha[:8]} while visitors keep asking: {change.message}")
        _push_and_wait(stage, change)
        time.sleep(SETTLE_S)
    _expect(stage, change)
    _judge(stage, tally)


def _push_and_wait(stage: Stage, change: Change) -> None:
    """Push as GitHub would, report each step, and wait for the deployment to succeed.

    Raises:
        DeploymentError: the deployment did not succeed.
        PlatformError: the webhook refused the push, or the deployment took too long.
    """
    url = webhook_url(stage.keystone.settings)
    deployment = deliver_push(url, stage.webhook_secret, change)
    stage.say(f"The signed push was accepted: deployment {deployment}")
    told: set[str] = set()
    deadline = time.monotonic() + DEPLOYED_WITHIN_S
    while time.monotonic() < deadline:
        view = _look(stage, deployment)
        _tell_steps(stage, view, told)
        if view.state is DeploymentState.SUCCESS:
            stage.say(f"Deployment #{view.number} is live")
            return
        if view.state.is_over:
            raise DeploymentError(f"deployment #{view.number} ended {view.state}: {view.reason}")
        time.sleep(LOOK_EVERY_S)
    raise PlatformError(f"deployment {deployment} was not over within {DEPLOYED_WITHIN_S} s")


def _look(stage: Stage, deployment: int) -> DeploymentView:
    with stage.keystone.database.reading() as session:
        return deployment_view(session, deployment)


def _tell_steps(stage: Stage, view: DeploymentView, told: set[str]) -> None:
    for step in view.steps:
        if step.ended_at is not None and step.name not in told:
            told.add(step.name)
            took = (step.ended_at - step.started_at).total_seconds()
            stage.say(f"  {step.name:<13} {step.state:<8} {took:6.2f} s")


def _expect(stage: Stage, change: Change) -> None:
    """Send a request to the app, and check that the pushed commit answers.

    Raises:
        PlatformError: something else answers, or nothing.
    """
    try:
        answer = ask(stage.app_url)
    except (OSError, HTTPException) as exc:
        raise PlatformError(f"{stage.app_url} does not answer: {exc}") from exc
    stage.say(f"{stage.app_url} answers: {answer}")
    if change.sha not in answer:
        raise PlatformError(f"the app that answers was not built from {change.sha}")


def _judge(stage: Stage, tally: Tally) -> None:
    """Report the visitors' results.

    Raises:
        PlatformError: one of their requests failed.
    """
    releases = len(tally.answers)
    stage.say(
        f"Visitors made {tally.total} requests meanwhile and were answered by {releases} releases; "
        f"{len(tally.failures)} requests failed"
    )
    if tally.failures:
        raise PlatformError(f"the first request that failed: {tally.failures[0]}")


def _farewell(stage: Stage) -> None:
    settings = stage.keystone.settings
    stage.say("")
    stage.say(f"The app:       {stage.app_url}")
    stage.say(f"The dashboard: {settings.effective_public_url}")
    stage.say(f"The login:     admin / {settings.admin_password.get_secret_value()}")
