"""The public shapes of apps and deployments (DESIGN §5).

The JSON API sends them, the pages show them, the command line prints them.
"""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from jobs.rules.app_settings import BuildSettings, ContainerSettings, PushRules
from jobs.states import (
    AppState,
    BuildStepState,
    CatchUpWay,
    ContainerState,
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    IdentitySource,
    Kind,
    Refusal,
    StepName,
    StepState,
    Trigger,
)

Item = TypeVar("Item", bound=BaseModel)

TROUBLE = "Why the token was refused last, in GitHub's words, or that it expires soon"
EXPIRY = "Expiry of the token that was used last; null: GitHub has not reported it"


class View(BaseModel):
    """An immutable snapshot of an object, for people and programs."""

    model_config = ConfigDict(frozen=True)


class Page(View, Generic[Item]):
    """One page of a list, newest first; `next` is the cursor for `before=`, or null at the end."""

    items: list[Item]
    next: int | None = None


class WebhookView(View):
    """The values to enter for a webhook at GitHub."""

    url: str
    secret: str | None = Field(
        default=None, description="Only in the response that created the repository"
    )
    problem: str = Field("", description="Why GitHub cannot reach the URL, or not safely")


class AppSourceView(View):
    """An app's name, and what it is deployed from."""

    id: int
    name: str
    repository: str = Field(description="owner/name")
    repository_id: int
    git_url: str
    token_set: bool = Field(description="Whether the repository has a token of its own")
    token_problem: str | None = Field(description=TROUBLE)
    token_expires_at: datetime | None = Field(description=EXPIRY)
    branch: str
    host_port: int
    auto_deploy: bool
    paused_reason: str = Field(description="Why auto-deploy is off, when it is")


# Base classes from right to left give the order of the fields: the name first, the state last.
class AppView(ContainerSettings, BuildSettings, PushRules, AppSourceView):
    """An app: its configuration and its live release."""

    domains: list[str] = Field(description="Host names the router serves it by")
    state: AppState
    state_reason: str
    live_deployment: int | None = Field(description="The id of the deployment that serves")
    live_release: int | None = Field(description="The number of the release that serves")
    live_commit_sha: str | None
    live_container_port: int | None = Field(
        default=None, description="The port inside the container that serves"
    )
    warm_release: int | None = Field(
        default=None,
        description="The number of the replaced release whose container still runs, for old assets "
        "and for an instant rollback",
    )
    warm_until: datetime | None = Field(default=None, description="Until when it does")
    url: str
    needs_redeploy: bool
    webhook: WebhookView
    created_at: datetime
    notes: list[str] = Field(
        default=[], description="In the response to a change: its side effects"
    )


class RemovedView(View):
    """The result of removing an app or a repository."""

    removed: str
    repository_removed: str | None = Field(
        description="The name of the repository, if it was removed too, with its last app"
    )
    notes: list[str] = Field(description="What else was removed, and what is left to do")


class StepView(View):
    """One stage of a deployment."""

    name: StepName
    state: StepState
    started_at: datetime
    ended_at: datetime | None
    reason: str


class StatusView(View):
    """One commit status for GitHub, and whether it was sent."""

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
    attempts: int = Field(description="How often a worker has started it")
    cancelled_by: str | None = Field(description="Who asked for it to be cancelled")
    waiting_for: str | None = Field(
        default=None, description="While it is queued: what it waits for, in words"
    )
    place: int | None = Field(
        default=None,
        description="While it is queued: its place in the queue, from 1; null while another "
        "deployment of its app is before it. Rollbacks and recoveries have a queue of their own",
    )
    steps: list[StepView]
    statuses: list[StatusView]


class SectionView(View):
    """Consecutive lines of a log that one step wrote; line numbers count from 1."""

    step: str
    first: int
    last: int


class BuildStepView(View):
    """One step of an image's build."""

    number: int
    line: int = Field(description="Where in the log it begins")
    name: str
    state: BuildStepState
    seconds: float | None


class OutlineView(View):
    """The outline of a deployment's log."""

    lines: int
    size: int = Field(description="Bytes")
    sections: list[SectionView]
    build: list[BuildStepView]


class ReleaseView(View):
    """An image with its configuration and environment."""

    id: int
    number: int
    commit_sha: str
    commit_message: str
    image: str = Field(
        description="Its tag, without the part by which another app's Dockerfile could name it"
    )
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


class SetVariableView(VariableView):
    """An environment variable that was just set."""

    notes: list[str] = Field(description="Says so if logs cannot mask the value")


class ImportedVariablesView(Page[VariableView]):
    """The environment variables that were just set, by name."""

    notes: list[str] = Field(description="The secrets that logs cannot mask")


class ContainerView(View):
    """The state of an app's live container, as Docker reports it."""

    id: str | None
    state: ContainerState
    reason: str
    since: str | None = Field(description="When it was started last")
    exit_code: int | None
    out_of_memory: bool
    restarts: int
    health: str | None = Field(description="Result of the image's own health check, if it has one")


class CertificateView(View):
    """A domain's certificate, without its key."""

    domain: str
    app: str | None = Field(description="The app that has the domain, if any")
    is_keystone: bool = Field(description="Whether it serves Keystone's own address")
    not_after: datetime
    problem: str = Field(
        description="That it has expired, or that less than a third of its lifetime is left"
    )
    created_at: datetime


class DeliveryView(View):
    """One POST from GitHub and its outcome."""

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


class RefusedDeliveryView(View):
    """Similar refused POSTs to the webhook, counted together; their claims are unverified."""

    repository: str | None = Field(
        description="The configured repository that was claimed, or null"
    )
    claimed: str = Field(description="owner/name of the last claim; empty: none was claimed")
    address: str = Field(description="Where they came from; empty: several, counted together")
    reason: Refusal
    words: str = Field(description="The reason as people read it")
    count: int
    first_at: datetime
    last_at: datetime


class AuditEventView(View):
    """Who did what to which thing, when."""

    id: int
    at: datetime
    tag: str
    actor: str
    target: str
    address: str
    details: dict[str, object]


class WebhookSecretView(View):
    """The state of a repository's webhook secret; the secret itself is never shown again."""

    since: datetime | None = Field(description="When it was set; null: the global one is used")
    previous_until: datetime | None = Field(
        description="Until when an older one is valid too; null: there is none"
    )


class HookView(View):
    """A repository's webhook on GitHub."""

    id: int = Field(description="GitHub's id of the webhook")
    repository: str
    url: str = Field(description="Where it sends deliveries")
    is_new: bool = Field(description="False: it existed already, and was corrected")
    problem: str = Field("", description="Why GitHub cannot reach the URL, or not safely")


class CatchUpView(View):
    """The state of the search for a repository's missed pushes."""

    way: CatchUpWay | None = Field(
        description="`deliveries`: by GitHub's list of deliveries; `branch_head`: by the branch's "
        "head, if that list is not available; null: no search yet"
    )
    looked_at: datetime | None
    missed: int | None = Field(
        description="How many missed pushes the last search found; null: unknown"
    )
    found: str = Field(description="The result in words; empty if the last search failed")
    problem: str = Field(description="What went wrong, or why GitHub's list is not available")
    settled_until: datetime | None = Field(
        description="All pushes up to this time have arrived or were caught up on"
    )
    next_look_at: datetime | None = Field(description="Null: as soon as possible, or never")


class RepositoryView(View):
    """A repository that apps are deployed from."""

    id: int
    full_name: str
    github_id: int | None = Field(description="Null: unknown, it is identified by its name")
    identity_from: IdentitySource | None = Field(
        description="The source of that id: GitHub's API or an operator, never a delivery"
    )
    identity_checked_at: datetime | None = Field(
        description="When GitHub confirmed the id last, or the operator set it"
    )
    identity_problem: str | None = Field(description="Why the id is unknown or in doubt")
    git_url: str
    token_set: bool
    token_problem: str | None = Field(description=TROUBLE)
    token_expires_at: datetime | None = Field(description=EXPIRY)
    webhook_secret: WebhookSecretView
    webhook_seen_at: datetime | None = Field(description="When its last delivery was verified")
    catch_up: CatchUpView
    apps: list[str]


class NewWebhookSecretView(View):
    """A repository's new webhook secret, which is shown only once."""

    url: str = Field(description="Where the webhook sends deliveries")
    secret: str
    previous_until: datetime | None = Field(
        description="Until when an older one is valid too; null: there is none"
    )
