"""What a deployment deploys: read from the database once, when it begins. Values only."""

import hashlib
import json
from dataclasses import dataclass

from pydantic import SecretStr
from sqlmodel import Session

from jobs.deployment.comparison import Comparison, read_comparison
from jobs.processes.build_limits import Bounds, build_bounds
from jobs.processes.runtime import Runtime
from jobs.reads.domains import domains_by_app, find_doors
from jobs.reads.releases import live_settings
from jobs.reads.secrets import git_token, repository_token
from jobs.reads.variables import open_variables
from jobs.reads.warm import is_warm
from jobs.records.deployments import HeldLease
from jobs.rules.app_settings import EVERY_TAG, BuildSettings, ContainerSettings
from jobs.rules.container_values import LOCALHOST, HealthRequest, other_slot
from jobs.rules.repository_values import Remote
from jobs.rules.variables import Environment, Variable
from jobs.settings import WorkerSettings
from jobs.states import Kind, Trigger
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Deployment, Identity, Release, Repository


@dataclass(frozen=True)
class Recipe:
    """How to build a commit's image: the build settings, and the variables they choose from."""

    build: BuildSettings
    environment: Environment

    @property
    def digest(self) -> str:
        """A digest of everything that the image depends on besides the commit."""
        told = {**self.build.model_dump(exclude={"build_timeout_s"}), "values": self._values()}
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

    @property
    def args(self) -> dict[str, SecretStr]:
        """The build arguments; a variable that is not set is left out."""
        return self._chosen(self.build.build_args)

    @property
    def secrets(self) -> dict[str, SecretStr]:
        """The build secrets; a variable that is not set is left out."""
        return self._chosen(self.build.build_secrets)

    def _chosen(self, names: tuple[str, ...]) -> dict[str, SecretStr]:
        return {name: self.environment[name].value for name in names if name in self.environment}

    def _values(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self.args.items()}


@dataclass(frozen=True)
class Candidate:
    """A release about to be started, with everything its container is made from."""

    release_id: int
    number: int
    commit_sha: str
    image: str  # the tag that keeps it
    image_id: str
    container: ContainerSettings
    environment: Environment

    @property
    def variables(self) -> dict[str, SecretStr]:
        """The container's environment variables, except PORT and KEYSTONE_APP."""
        told = {"KEYSTONE_COMMIT": self.commit_sha, "KEYSTONE_RELEASE": f"v{self.number}"}
        own = {name: variable.value for name, variable in self.environment.items()}
        return {**own, **{name: SecretStr(value) for name, value in told.items()}}


@dataclass(frozen=True)
class EarlierRelease:
    """A release to start again, and the settings to rebuild its image if that was removed."""

    candidate: Candidate
    build: BuildSettings


@dataclass(frozen=True)
class LiveContainer:
    """The container that served the app when the deployment began."""

    container_id: str
    address: str
    slot: str
    settings: ContainerSettings  # of the release it was made from

    @property
    def keeps_assets(self) -> bool:
        """Whether its release asks for old assets to be served after a switch."""
        return bool(self.settings.warm_minutes and self.settings.asset_paths)


@dataclass(frozen=True)
class WarmContainer:
    """The container of a replaced release that is kept running."""

    container_id: str
    release_id: int
    settings: ContainerSettings  # of its release


@dataclass(frozen=True)
class Plan:
    """Everything a deployment needs to know, as it was in the database when it began."""

    deployment_id: int
    number: int
    attempt: int  # 2: a worker died during the first one
    kind: Kind
    trigger: Trigger
    ref: str
    commit_sha: str  # empty: whatever the ref points to
    tags: str  # the patterns of the tags that deploy; those of all tags if none does by itself
    app_id: int
    app: str
    identity: str
    image_key: SecretStr  # for the images' tags
    remote: Remote
    configuration: int
    build: BuildSettings
    container: ContainerSettings
    environment: Environment
    host_port: int
    app_bind: str
    min_free_disk: int  # bytes
    bounds: Bounds  # the limits of builds
    live: LiveContainer | None
    compared: Comparison | None  # the live commit, if a push that changes nothing need not be built
    earlier: EarlierRelease | None  # the release to start again; None: build the commit
    fallback: str | None = None  # the container that was kept for a recovery: stopped, or warm
    warm: WarmContainer | None = None  # the same container, if it is kept warm
    domain: str = ""  # the app's first one that is no wildcard
    is_https: bool = False  # whether the router serves that domain by HTTPS
    frontend: str = ""  # the image that reads Dockerfiles without `# syntax=`

    @property
    def recipe(self) -> Recipe:
        """How to build the image: with the plan's settings, or with the earlier release's."""
        if self.earlier is not None:
            return Recipe(self.earlier.build, self.earlier.candidate.environment)
        return Recipe(self.build, self.environment)

    @property
    def variables(self) -> list[Variable]:
        """Every variable that the deployment uses."""
        earlier = self.earlier.candidate.environment if self.earlier else {}
        return [*self.environment.values(), *earlier.values()]

    def health_request(self, wanted: ContainerSettings) -> HealthRequest:
        """Give a release's health request: as from a visitor of the app's first domain."""
        return HealthRequest(
            path=wanted.asked_path,
            host=wanted.health_host or self.domain or LOCALHOST,
            is_https=self.is_https,
            healthy=wanted.healthy_statuses,
        )

    @property
    def free_slot(self) -> str:
        """The router slot that does not serve now."""
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
    domain, scheme = find_doors(session).first(domains_by_app(session, [app.id])[held.app_id])
    return Plan(
        deployment_id=held.deployment_id,
        number=deployment.number,
        attempt=deployment.attempts,
        kind=deployment.kind,
        trigger=deployment.trigger,
        ref=deployment.ref,
        commit_sha=deployment.commit_sha,
        tags=app.push_rules.tags or EVERY_TAG,
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
        compared=read_comparison(session, app, deployment),
        earlier=_earlier_release(session, runtime, deployment),
        fallback=app.fallback_container_id,
        warm=_warm(session, app),
        domain=domain,
        is_https=scheme == "https",
        frontend=settings.dockerfile_frontend,
    )


def _live(session: Session, app: App) -> LiveContainer | None:
    if app.live_container_id is None or app.live_address is None or app.live_slot is None:
        return None
    settings = live_settings(session, app)
    return LiveContainer(app.live_container_id, app.live_address, app.live_slot, settings)


def _warm(session: Session, app: App) -> WarmContainer | None:
    release = session.get(Release, app.fallback_release_id) if is_warm(app) else None
    if release is None or app.fallback_container_id is None:
        return None
    return WarmContainer(app.fallback_container_id, release.id or 0, release.container)


def _earlier_release(
    session: Session, runtime: Runtime[WorkerSettings], deployment: Deployment
) -> EarlierRelease | None:
    """Return the release that a rollback or a restore starts again; None for a new one.

    It is never a release that this deployment made: an attempt that got that far is not repeated.
    """
    if deployment.release_id is None:
        return None
    release = session.get_one(Release, deployment.release_id)
    return EarlierRelease(
        candidate(release, open_environment(release.environment, runtime.vault)),
        release.build,
    )


def candidate(release: Release, environment: Environment) -> Candidate:
    """Turn a stored release into one that can be started."""
    return Candidate(
        release_id=release.id or 0,
        number=release.number,
        commit_sha=release.commit_sha,
        image=release.image,
        image_id=release.image_id,
        container=release.container,
        environment=environment,
    )
