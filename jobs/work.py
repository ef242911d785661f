"""One running deployment: what its steps know, the tools they use, and how they leave a record."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Concatenate, ParamSpec, TypeVar

from pydantic import SecretStr
from sqlmodel import Session

from jobs.adapters.ports import Engine, Probe, Remote, Router, Source
from jobs.claims import Claim
from jobs.database import Database
from jobs.logs import DeploymentLog
from jobs.models import App, Deployment, Repository
from jobs.records.deployments import Grip, end_step, hold, start_step
from jobs.runtime import Runtime
from jobs.secrets_store import git_token, repository_token
from jobs.settings import WorkerSettings
from jobs.states import Kind, StepName, StepState, Trigger
from jobs.stopping import StopSignal

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class ContainerSettings:
    """What of an app's configuration a container is made of; a release keeps its own copy."""

    port: int
    health_path: str | None
    health_timeout_s: int
    memory_mb: int
    cpus: float | None
    command: tuple[str, ...] | None

    @classmethod
    def of(cls, app: App) -> "ContainerSettings":
        """Take them from an app as it is configured now."""
        return cls(
            port=app.container_port,
            health_path=app.health_path,
            health_timeout_s=app.health_timeout_s,
            memory_mb=app.memory_mb,
            cpus=app.cpus,
            command=tuple(app.command) if app.command else None,
        )

    def to_json(self) -> dict[str, object]:
        """Give the form that a release keeps in the database."""
        return asdict(self)


@dataclass(frozen=True)
class LiveContainer:
    """What served the app when the deployment began."""

    container_id: str
    address: str
    slot: str


@dataclass(frozen=True)
class Plan:
    """What is to be deployed: read from the database once, when the deployment begins."""

    deployment_id: int
    number: int
    kind: Kind
    trigger: Trigger
    ref: str
    commit_sha: str  # empty: whatever the ref points to
    app_id: int
    app: str
    identity: str
    remote: Remote
    dockerfile: str
    context: str
    configuration: int
    container: ContainerSettings
    host_port: int
    app_bind: str
    keep_releases: int
    live: LiveContainer | None

    @property
    def build_digest(self) -> str:
        """Name the configuration that the image depends on, besides the commit."""
        told = f"{self.context}\0{self.dockerfile}"
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    @property
    def free_slot(self) -> str:
        """The router's server that does not serve now."""
        return "b" if self.live and self.live.slot == "a" else "a"


@dataclass(frozen=True)
class Tools:
    """The outside world, as a deployment needs it."""

    engine: Engine
    source: Source
    router: Router
    probe: Probe


class StepRecord:
    """What a step may say of itself while it runs."""

    def __init__(self) -> None:
        self.state = StepState.SUCCESS
        self.reason = ""

    def skip(self, reason: str) -> None:
        """Have the step end as skipped: there was nothing to do."""
        self.state = StepState.SKIPPED
        self.reason = reason


@dataclass(frozen=True)
class Work:
    """Everything a step is handed."""

    plan: Plan
    claim: Claim
    tools: Tools
    database: Database
    log: DeploymentLog
    stop: StopSignal

    @property
    def grip(self) -> Grip:
        """The hold on the app that every record must prove."""
        return self.claim.grip

    def record(
        self,
        write: Callable[Concatenate[Session, Grip, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Make one record in a transaction of its own.

        Raises:
            LeaseLostError: the app is not ours any more.
        """
        with self.database.writing() as session:
            return write(session, self.grip, *args, **kwargs)

    def ensure_held(self) -> None:
        """Make sure, before touching the outside, that the app is still ours and nobody said stop.

        Raises:
            LeaseLostError: it is not.
            CancelledError: a person said stop.
        """
        self.stop.check()
        with self.database.reading() as session:
            hold(session, self.grip)

    @contextmanager
    def step(self, name: StepName) -> Iterator[StepRecord]:
        """Run a block as one step of the deployment, with its times and outcome on record.

        A step that raises is closed by whoever ends the deployment, with the same reason.
        """
        self.stop.check()
        self.record(start_step, name)
        record = StepRecord()
        yield record
        self.record(end_step, name, record.state, record.reason)

    def say(self, step: StepName, text: str) -> None:
        """Write to the deployment's log."""
        self.log.write(step, text)


def read_plan(session: Session, runtime: Runtime[WorkerSettings], grip: Grip) -> Plan:
    """Gather what a deployment needs to know."""
    settings = runtime.settings
    deployment = session.get_one(Deployment, grip.deployment_id)
    app = session.get_one(App, grip.app_id)
    repository = session.get_one(Repository, app.repository_id)
    token = git_token(
        repository_token(session, app.repository_id, runtime.vault),
        settings.github_token,
        git_url=repository.git_url,
        api_url=settings.github_api_url,
    )
    return Plan(
        deployment_id=grip.deployment_id,
        number=deployment.number,
        kind=deployment.kind,
        trigger=deployment.trigger,
        ref=deployment.ref,
        commit_sha=deployment.commit_sha,
        app_id=grip.app_id,
        app=app.name,
        identity=runtime.identity,
        remote=Remote(repository_id=app.repository_id, url=repository.git_url, token=token),
        dockerfile=app.dockerfile,
        context=app.context,
        configuration=app.configuration,
        container=ContainerSettings.of(app),
        host_port=app.host_port,
        app_bind=settings.app_bind,
        keep_releases=app.keep_releases,
        live=_live(app),
    )


def _live(app: App) -> LiveContainer | None:
    if app.live_container_id is None or app.live_address is None or app.live_slot is None:
        return None
    return LiveContainer(app.live_container_id, app.live_address, app.live_slot)


def container_environment(plan: Plan, commit_sha: str, release: int) -> Mapping[str, SecretStr]:
    """Give the variables that every container of ours finds, besides PORT."""
    told = {
        "KEYSTONE_APP": plan.app,
        "KEYSTONE_COMMIT": commit_sha,
        "KEYSTONE_RELEASE": f"v{release}",
    }
    return {name: SecretStr(value) for name, value in told.items()}
