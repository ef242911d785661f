"""What the outside sees of apps and deployments: the shapes of DESIGN §5, shared by all doors.

The JSON API sends them, the pages draw them, the command line prints them.
"""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.states import (
    AppState,
    Capabilities,
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
    OnNewPush,
    Restart,
    Role,
    StepName,
    StepState,
    Trigger,
)

Item = TypeVar("Item", bound=BaseModel)


class View(BaseModel):
    """A frozen picture of something, for people and programs."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[Item]):
    """One page of a list, newest first; `next` is the cursor for `before=`, or null at the end."""

    items: list[Item]
    next: int | None = None


class WebhookView(View):
    """What has to be typed in at GitHub."""

    url: str
    secret: str | None = Field(
        default=None, description="Only in the answer that created the repository"
    )


class AppView(View):
    """An app: how it is configured and what of it is live."""

    id: int
    name: str
    repository: str = Field(description="owner/name")
    repository_id: int
    git_url: str
    token_set: bool = Field(description="Whether the repository has a token of its own")
    branch: str
    dockerfile: str
    context: str
    container_port: int
    host_port: int
    health_path: str | None
    health_timeout_s: int
    health_status: str
    health_interval_s: float | None
    health_successes: int
    auto_deploy: bool
    paused_reason: str = Field(description="Why auto-deploy is off, when it is")
    on_new_push: OnNewPush
    skip_phrases: list[str]
    watch_paths: list[str]
    tag_pattern: str | None
    build_target: str | None
    build_args: list[str]
    build_secrets: list[str]
    build_timeout_s: int
    memory_mb: int
    cpus: float | None
    command: list[str] | None
    pids: int
    capabilities: Capabilities
    restart: Restart
    stop_signal: str
    stop_grace_s: int
    volumes: list[str]
    labels: dict[str, str]
    domains: list[str] = Field(description="Host names the router serves it by")
    keep_releases: int
    state: AppState
    state_reason: str
    live_deployment: int | None = Field(description="The id of the deployment that serves")
    live_release: int | None = Field(description="The number of the release that serves")
    live_commit_sha: str | None
    url: str
    needs_redeploy: bool
    webhook: WebhookView
    created_at: datetime


class StepView(View):
    """One stage of a deployment."""

    name: StepName
    state: StepState
    started_at: datetime
    ended_at: datetime | None
    reason: str


class StatusView(View):
    """One commit status: what GitHub was to be told, and whether it was."""

    state: GitHubState
    description: str
    posted_at: datetime | None
    error: str


class DeploymentView(View):
    """One attempt to put a release live."""

    id: int
    app: str
    number: int
    kind: Kind
    trigger: Trigger
    state: DeploymentState
    reason: str
    ref: str
    commit_sha: str
    commit_message: str
    author: str
    actor: str
    release: int | None = Field(description="The number of the release it made or started")
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None = Field(description="From its start to its end, or to now")
    steps: list[StepView]
    statuses: list[StatusView]


class ReleaseView(View):
    """Image, configuration and environment at one moment."""

    id: int
    number: int
    commit_sha: str
    commit_message: str
    image: str
    deployment: int = Field(description="The id of the deployment that made it")
    created_at: datetime
    is_live: bool
    is_restorable: bool = Field(description="Whether a rollback to it is possible now")


class VariableView(View):
    """An environment variable; the value of a secret one is never shown."""

    name: str
    secret: bool
    value: str | None = Field(description="Null for a secret")
    changed_at: datetime


class ContainerView(View):
    """What Docker says of an app's live container."""

    id: str | None
    state: ContainerState
    reason: str
    since: str | None = Field(description="When it was started last")
    exit_code: int | None
    out_of_memory: bool
    restarts: int
    health: str | None = Field(description="Of the image's own health check, if it has one")


class CertificateView(View):
    """A domain's certificate, without its key."""

    domain: str
    app: str | None = Field(description="The app that has the domain, if any")
    not_after: datetime
    problem: str = Field(description="That it has expired, or will within 14 days")
    created_at: datetime


class DeliveryView(View):
    """One POST from GitHub and what came of it."""

    id: int
    guid: str
    event: str
    repository: str | None
    outcome: DeliveryOutcome
    reason: str
    ref: str
    commit_sha: str
    sender: str
    received_at: datetime
    deployments: list[int] = Field(description="The ids of the deployments it led to")


class AuditEventView(View):
    """Who did what to which thing, when."""

    id: int
    at: datetime
    tag: str
    actor: str
    target: str
    address: str
    details: dict[str, object]


class RepositoryView(View):
    """A repository that apps are deployed from."""

    id: int
    full_name: str
    github_id: int | None
    git_url: str
    token_set: bool
    token_problem: str | None
    apps: list[str]


class UserView(View):
    """A person who may log in."""

    id: int
    name: str
    role: Role
    disabled: bool
    created_at: datetime


class TokenView(View):
    """A program's key, without the key."""

    id: int
    name: str
    role: Role
    created_by: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
