"""What is to be deployed: read from the database once, when the deployment begins. Values only."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from sqlmodel import Session

from jobs.processes.build_limits import Bounds, build_bounds
from jobs.processes.runtime import Runtime
from jobs.reads.secrets import git_token, repository_token
from jobs.reads.variables import open_variables
from jobs.records.deployments import Grip
from jobs.rules.container_values import other_slot
from jobs.rules.repository_values import Remote
from jobs.rules.variables import Environment, Variable
from jobs.settings import WorkerSettings
from jobs.states import Capabilities, Health, Kind, Restart, Trigger
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Deployment, Identity, Release, Repository

OK_OR_REDIRECT = range(200, 400)
# Whoever answers is there: 401 and 404 too, where nobody has said which path to ask for.
BELOW_500 = range(200, 500)


class BuildSettings(BaseModel):
    """What of an app's configuration an image is made of; a release keeps its own copy."""

    model_config = ConfigDict(frozen=True)

    dockerfile: str = "Dockerfile"
    context: str = "."
    build_target: str | None = None
    build_args: tuple[str, ...] = ()  # names of variables that are build arguments, too
    build_secrets: tuple[str, ...] = ()  # names of variables that are build secrets, too
    build_timeout_s: int = 1800


class ContainerSettings(BaseModel):
    """What of an app's configuration a container is made of; a release keeps its own copy."""

    model_config = ConfigDict(frozen=True)

    container_port: int
    health: Health = Health.HTTP
    health_path: str | None = None
    health_timeout_s: int = 30
    health_status: str | None = None
    health_interval_s: float | None = None
    health_successes: int = 1
    memory_mb: int = 512
    cpus: float | None = None
    pids: int = 512
    command: tuple[str, ...] | None = None
    capabilities: Capabilities = Capabilities.DEFAULT
    new_privileges: bool = False
    init: bool = True
    restart: Restart = Restart.ALWAYS
    drain_timeout_s: int = 30
    stop_signal: str = "SIGTERM"
    stop_grace_s: int = 10
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)

    @property
    def asked_path(self) -> str | None:
        """What is asked for by GET; None: nothing, a connection will do."""
        return (self.health_path or "/") if self.health is Health.HTTP else None

    @property
    def healthy_statuses(self) -> range:
        """The HTTP statuses that count as healthy."""
        if self.health_status is None:
            return OK_OR_REDIRECT if self.health_path else BELOW_500
        first, _, last = self.health_status.partition("-")
        return range(int(first), int(last or first) + 1)


def build_settings(app: App) -> BuildSettings:
    """Take the build's settings from an app as it is configured now."""
    return BuildSettings.model_validate(app.model_dump(include=set(BuildSettings.model_fields)))


def container_settings(app: App) -> ContainerSettings:
    """Take the container's settings from an app as it is configured now."""
    return ContainerSettings.model_validate(
        app.model_dump(include=set(ContainerSettings.model_fields))
    )


def settings_of(release: Release) -> ContainerSettings:
    """Read the settings that a release keeps.

    One of the time when an app without a path was only connected to keeps statuses that were never
    asked for. It has to answer now, as every release has.
    """
    kept = release.container
    if "health" not in kept and kept.get("health_path") is None:
        kept = {**kept, "health_status": None}
    return ContainerSettings.model_validate(kept)


@dataclass(frozen=True)
class Recipe:
    """How the image of a commit is made: settings, and the variables some of which go in."""

    build: BuildSettings
    environment: Environment

    @property
    def digest(self) -> str:
        """Name all that the image depends on besides the commit."""
        told = {**self.build.model_dump(exclude={"build_timeout_s"}), "values": self._values()}
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

    @property
    def args(self) -> dict[str, SecretStr]:
        """The variables that are build arguments; one that is not set is left out."""
        return self._chosen(self.build.build_args)

    @property
    def secrets(self) -> dict[str, SecretStr]:
        """The variables that are build secrets; one that is not set is left out."""
        return self._chosen(self.build.build_secrets)

    def _chosen(self, names: tuple[str, ...]) -> dict[str, SecretStr]:
        return {name: self.environment[name].value for name in names if name in self.environment}

    def _values(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.args.items()}


@dataclass(frozen=True)
class Candidate:
    """A release about to be started: everything its container is made of."""

    release_id: int
    number: int
    commit_sha: str
    image: str  # the tag that keeps it
    image_id: str
    container: ContainerSettings
    environment: Environment

    @property
    def variables(self) -> dict[str, SecretStr]:
        """What the container finds in its environment, besides PORT."""
        told = {"KEYSTONE_COMMIT": self.commit_sha, "KEYSTONE_RELEASE": f"v{self.number}"}
        own = {name: variable.value for name, variable in self.environment.items()}
        return {**own, **{name: SecretStr(value) for name, value in told.items()}}


@dataclass(frozen=True)
class EarlierRelease:
    """A release that is started again, and how to make its image should it be gone."""

    candidate: Candidate
    build: BuildSettings


@dataclass(frozen=True)
class LiveContainer:
    """What served the app when the deployment began."""

    container_id: str
    address: str
    slot: str
    drain_timeout_s: int = 30
    stop_grace_s: int = 10


@dataclass(frozen=True)
class Plan:
    """What is to be deployed: read from the database once, when the deployment begins."""

    deployment_id: int
    number: int
    attempt: int  # 2: a worker died at the first one
    kind: Kind
    trigger: Trigger
    ref: str
    commit_sha: str  # empty: whatever the ref points to
    app_id: int
    app: str
    identity: str
    image_key: SecretStr  # of the tags of images
    remote: Remote
    configuration: int
    build: BuildSettings
    container: ContainerSettings
    environment: Environment
    host_port: int
    app_bind: str
    min_free_disk: int  # bytes
    bounds: Bounds  # of builds
    live: LiveContainer | None
    earlier: EarlierRelease | None  # what is started again; None: build the commit
    fallback: str | None = None  # the container kept to go back to when the deployment began

    @property
    def recipe(self) -> Recipe:
        """How the image is made: as the app is configured now, or was for the earlier release."""
        if self.earlier is not None:
            return Recipe(self.earlier.build, self.earlier.candidate.environment)
        return Recipe(self.build, self.environment)

    @property
    def variables(self) -> list[Variable]:
        """Every variable that plays a part in the deployment."""
        earlier = self.earlier.candidate.environment if self.earlier else {}
        return [*self.environment.values(), *earlier.values()]

    @property
    def free_slot(self) -> str:
        """The router's server that does not serve now."""
        return other_slot(self.live.slot if self.live else None)


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
        attempt=deployment.attempts,
        kind=deployment.kind,
        trigger=deployment.trigger,
        ref=deployment.ref,
        commit_sha=deployment.commit_sha,
        app_id=grip.app_id,
        app=app.name,
        identity=runtime.identity,
        image_key=SecretStr(session.get_one(Identity, 1).image_key),
        remote=Remote(repository_id=app.repository_id, url=repository.git_url, token=token),
        configuration=app.configuration,
        build=build_settings(app),
        container=container_settings(app),
        environment=open_variables(session, app, runtime.vault),
        host_port=app.host_port,
        app_bind=settings.app_bind,
        min_free_disk=settings.min_free_disk_mb * 1024 * 1024,
        bounds=build_bounds(settings, runtime.identity),
        live=_live(session, app),
        earlier=_earlier_release(session, runtime, deployment),
        fallback=app.fallback_container_id,
    )


def _live(session: Session, app: App) -> LiveContainer | None:
    if app.live_container_id is None or app.live_address is None or app.live_slot is None:
        return None
    release = session.get(Release, app.live_release_id)
    settings = settings_of(release) if release else container_settings(app)
    return LiveContainer(
        app.live_container_id,
        app.live_address,
        app.live_slot,
        drain_timeout_s=settings.drain_timeout_s,
        stop_grace_s=settings.stop_grace_s,
    )


def _earlier_release(
    session: Session, runtime: Runtime[WorkerSettings], deployment: Deployment
) -> EarlierRelease | None:
    """Give the release that is to be started again, by a rollback or after a restore.

    None of a deployment's own making: an attempt that came to make one is not repeated.
    """
    if deployment.release_id is None:
        return None
    release = session.get_one(Release, deployment.release_id)
    return EarlierRelease(
        candidate(release, open_environment(release.environment, runtime.vault)),
        BuildSettings.model_validate(release.build),
    )


def candidate(release: Release, environment: Environment) -> Candidate:
    """Read a release back as something to be started."""
    return Candidate(
        release_id=release.id or 0,
        number=release.number,
        commit_sha=release.commit_sha,
        image=release.image,
        image_id=release.image_id,
        container=settings_of(release),
        environment=environment,
    )
