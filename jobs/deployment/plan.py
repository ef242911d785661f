"""What is to be deployed: read from the database once, when the deployment begins. Values only."""

import hashlib
import json
from dataclasses import dataclass

from pydantic import SecretStr
from sqlmodel import Session

from jobs.processes.build_limits import Bounds, build_bounds
from jobs.processes.runtime import Runtime
from jobs.reads.releases import live_settings
from jobs.reads.secrets import git_token, repository_token
from jobs.reads.variables import open_variables
from jobs.records.deployments import HeldLease
from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.rules.container_values import other_slot
from jobs.rules.repository_values import Remote
from jobs.rules.variables import Environment, Variable
from jobs.settings import WorkerSettings
from jobs.states import Kind, Trigger
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Deployment, Identity, Release, Repository


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
    settings: ContainerSettings  # of the release it was made of


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


def read_plan(session: Session, runtime: Runtime[WorkerSettings], held: HeldLease) -> Plan:
    """Gather what a deployment needs to know."""
    settings = runtime.settings
    deployment = session.get_one(Deployment, held.deployment_id)
    app = session.get_one(App, held.app_id)
    repository = session.get_one(Repository, app.repository_id)
    token = git_token(
        repository_token(session, app.repository_id, runtime.vault),
        settings.github_token,
        git_url=repository.git_url,
        api_url=settings.github_api_url,
    )
    return Plan(
        deployment_id=held.deployment_id,
        number=deployment.number,
        attempt=deployment.attempts,
        kind=deployment.kind,
        trigger=deployment.trigger,
        ref=deployment.ref,
        commit_sha=deployment.commit_sha,
        app_id=held.app_id,
        app=app.name,
        identity=runtime.identity,
        image_key=SecretStr(session.get_one(Identity, 1).image_key),
        remote=Remote(repository_id=app.repository_id, url=repository.git_url, token=token),
        configuration=app.configuration,
        build=app.build,
        container=app.container,
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
    settings = live_settings(session, app)
    return LiveContainer(app.live_container_id, app.live_address, app.live_slot, settings)


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
        release.build,
    )


def candidate(release: Release, environment: Environment) -> Candidate:
    """Read a release back as something to be started."""
    return Candidate(
        release_id=release.id or 0,
        number=release.number,
        commit_sha=release.commit_sha,
        image=release.image,
        image_id=release.image_id,
        container=release.container,
        environment=environment,
    )
