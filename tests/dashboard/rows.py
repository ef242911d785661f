"""Rows for the pages to draw, made with the tables themselves; keyword-only, sensible defaults."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlmodel import Session, select

from jobs.rules.actors import Actor
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.states import (
    ActorKind,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
    StepName,
    StepState,
    Trigger,
)
from jobs.storage.models import (
    App,
    AuditEvent,
    CommitStatus,
    Delivery,
    Deployment,
    EnvironmentVariable,
    Release,
    Repository,
    Step,
    now,
)
from tests.builders import change_settings

_serial = count(1)


def sha() -> str:
    """Give another commit id."""
    return hashlib.sha1(str(next(_serial)).encode(), usedforsecurity=False).hexdigest()


def add_app(session: Session, name: str = "web", **fields: object) -> App:
    """Add an app, and its repository unless it is there."""
    full_name = str(fields.pop("repository", "octo/web"))
    repository = session.exec(
        select(Repository).where(Repository.name_key == full_name.lower())
    ).first()
    if repository is None:
        repository = Repository(
            full_name=full_name,
            name_key=full_name.lower(),
            git_url=f"https://github.com/{full_name}.git",
        )
        session.add(repository)
        session.flush()
    wanted: dict[str, Any] = {"host_port": 20000 + next(_serial), **fields}
    app = App(name=name, repository_id=repository.id or 0, host_port=wanted["host_port"])
    change_settings(app, **wanted)
    session.add(app)
    session.flush()
    return app


def add_deployment(
    session: Session,
    app: App,
    *,
    state: DeploymentState = DeploymentState.SUCCESS,
    ago: timedelta = timedelta(minutes=5),
    took: timedelta = timedelta(seconds=42),
    **fields: object,
) -> Deployment:
    """Add the app's next deployment, with the times its state asks for."""
    app.last_deployment += 1
    queued_at = now() - ago
    started = None if state is DeploymentState.QUEUED else queued_at + timedelta(seconds=1)
    ended = started + took if state.is_over and started else None
    wanted: dict[str, Any] = {
        "kind": Kind.UPDATE,
        "trigger": Trigger.PUSH,
        "ref": "refs/heads/main",
        "commit_sha": sha(),
        "commit_message": "Answer faster\n\nBecause people wait.",
        "author": "Ada Lovelace",
        **who(str(fields.pop("actor", "webhook:ada"))),
        **fields,
    }
    deployment = Deployment(
        app_id=app.id or 0,
        number=app.last_deployment,
        state=state,
        queued_at=queued_at,
        started_at=started,
        ended_at=ended,
        **wanted,
    )
    session.add(deployment)
    session.flush()
    return deployment


def make_live(session: Session, app: App, deployment: Deployment) -> Release:
    """Make a deployment the one that serves, with a release of its own."""
    app.last_release += 1
    release = Release(
        app_id=app.id or 0,
        number=app.last_release,
        deployment_id=deployment.id or 0,
        commit_sha=deployment.commit_sha,
        image=f"keystone/{app.name}:{deployment.number}",
        image_id=f"sha256:{deployment.commit_sha}",
        configuration=app.configuration,
        build=BuildSettings(),
        container=ContainerSettings(),
        environment=b"",
        created_at=deployment.ended_at or now(),
    )
    session.add(release)
    session.flush()
    deployment.release_id = release.id
    app.live_release_id, app.live_deployment_id = release.id, deployment.id
    session.flush()
    return release


def add_steps(
    session: Session,
    deployment: Deployment,
    *seconds: float,
    last: StepState = StepState.SUCCESS,
    reason: str = "",
    names: Iterable[StepName] = tuple(StepName),
) -> None:
    """Add steps of a deployment, one after the other; `last` is how the last of them stands."""
    at: datetime = deployment.started_at or now()
    for place, (name, took) in enumerate(zip(names, seconds, strict=False), start=1):
        is_last = place == len(seconds)
        state = last if is_last else StepState.SUCCESS
        ended = None if state is StepState.RUNNING else at + timedelta(seconds=took)
        session.add(
            Step(
                deployment_id=deployment.id or 0,
                name=name,
                state=state,
                reason=reason if is_last else "",
                started_at=at,
                ended_at=ended,
            )
        )
        at += timedelta(seconds=took)
    session.flush()


def add_status(
    session: Session, deployment: Deployment, state: GitHubState, words: str, *, error: str = ""
) -> None:
    """Add a commit status that was posted, or one that was refused with an error."""
    session.add(
        CommitStatus(
            deployment_id=deployment.id or 0,
            state=state,
            description=f"Deployment #{deployment.number}: {words}",
            posted_at=None if error else now() - timedelta(minutes=2),
            next_attempt_at=None,
            error=error,
        )
    )
    session.flush()


def add_delivery(
    session: Session, app: App, *, ago: timedelta = timedelta(minutes=5), **fields: object
) -> Delivery:
    """Add a delivery for the app's repository."""
    serial = next(_serial)
    wanted: dict[str, Any] = {
        "event": "push",
        "outcome": DeliveryOutcome.QUEUED,
        "ref": "refs/heads/main",
        "commit_sha": sha(),
        "sender": "ada",
        **fields,
    }
    delivery = Delivery(
        guid=f"7d8a{serial:04x}-6b1c-11ef-9c2a-{serial * 7919:012x}",
        repository_id=app.repository_id,
        body_sha256=sha(),
        received_at=now() - ago,
        **wanted,
    )
    session.add(delivery)
    session.flush()
    return delivery


def add_variable(
    session: Session, app: App, name: str, *, is_secret: bool = False, ago: timedelta = timedelta(1)
) -> None:
    """Add an environment variable whose value nobody could open."""
    session.add(
        EnvironmentVariable(
            app_id=app.id or 0,
            name=name,
            sealed=b"sealed",
            is_secret=is_secret,
            changed_at=now() - ago,
        )
    )
    session.flush()


def who(written: str) -> dict[str, Any]:
    """Give the columns of an actor: `user:ada`; what is written like nobody is GitHub's word."""
    actor = Actor.read(written) or Actor(ActorKind.WEBHOOK, written)
    return {"actor_kind": actor.kind, "actor_name": actor.name}


def add_event(
    session: Session,
    tag: str,
    *,
    actor: str = "user:ada",
    target: str = "app:web",
    ago: timedelta = timedelta(minutes=5),
    **details: object,
) -> None:
    """Add an audit event."""
    address = "" if actor.startswith(("cli:", "keystone:")) else "203.0.113.7"
    event = AuditEvent(
        tag=tag, **who(actor), target=target, address=address, at=now() - ago, details=details
    )
    session.add(event)
    session.flush()
