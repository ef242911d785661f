"""What the outside sees of apps and deployments: the shapes of DESIGN §5, shared by all doors.

The JSON API sends them, the pages draw them, the command line prints them.
"""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.states import (
    AppState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
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
    auto_deploy: bool
    skip_phrases: list[str]
    memory_mb: int
    cpus: float | None
    command: list[str] | None
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
