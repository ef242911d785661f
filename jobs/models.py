"""The tables, one class each. Shapes only: `records` writes them, `queries` reads them.

Times are aware UTC. Secrets never stand in these columns in clear: a column named `sealed` holds
bytes made by `jobs.vault`.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from jobs.columns import WordColumn, json_column
from jobs.states import (
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
from jobs.triggers import DEFAULT_SKIP_PHRASES

# SQLite would give the id of a removed row to the next one, and with it its log file, its
# container's name and its place in the audit trail.
NUMBERS_ONCE = {"sqlite_autoincrement": True}


def now() -> datetime:
    """Give the present moment, aware, in UTC."""
    return datetime.now(UTC)


class Repository(SQLModel, table=True):
    """A GitHub repository that apps are deployed from."""

    __tablename__ = "repositories"

    id: int | None = Field(default=None, primary_key=True)
    # Learned from its first delivery.
    github_id: int | None = Field(default=None, unique=True, sa_type=BigInteger)
    full_name: str = Field(max_length=200)  # as GitHub spells it
    name_key: str = Field(max_length=200, unique=True)  # lower case: GitHub ignores case
    git_url: str = Field(max_length=500)
    token_problem: str | None = Field(default=None, max_length=500)  # GitHub's own word
    created_at: datetime = Field(default_factory=now)


class SecretKind(StrEnum):
    """What a repository's secret is for."""

    TOKEN = "token"  # noqa: S105
    WEBHOOK = "webhook"


class RepositorySecret(SQLModel, table=True):
    """A sealed secret of a repository, apart from it so that a wrong key breaks no list."""

    __tablename__ = "repository_secrets"

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(foreign_key="repositories.id", index=True, ondelete="CASCADE")
    kind: SecretKind = Field(sa_type=WordColumn(SecretKind))
    sealed: bytes
    created_at: datetime = Field(default_factory=now)


class App(SQLModel, table=True):
    """A thing we deploy, how it is configured, and what of it is live now."""

    __tablename__ = "apps"
    __table_args__ = (NUMBERS_ONCE,)

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    repository_id: int = Field(foreign_key="repositories.id", index=True)
    branch: str = Field(default="main", max_length=250)
    dockerfile: str = Field(default="Dockerfile", max_length=250)
    context: str = Field(default=".", max_length=250)
    container_port: int = 8000
    host_port: int = Field(unique=True)
    health_path: str | None = Field(default=None, max_length=500)
    health_timeout_s: int = 30
    health_status: str = Field(default="200-399", max_length=7)
    health_interval_s: float | None = None
    health_successes: int = 1
    auto_deploy: bool = True
    paused_reason: str = Field(default="", max_length=500)  # why auto-deploy was switched off
    on_new_push: OnNewPush = Field(default=OnNewPush.WAIT, sa_type=WordColumn(OnNewPush))
    watch_paths: list[str] = Field(default_factory=list, sa_column=json_column())
    tag_pattern: str | None = Field(default=None, max_length=250)
    skip_phrases: list[str] = Field(
        default_factory=lambda: list(DEFAULT_SKIP_PHRASES), sa_column=json_column()
    )
    build_target: str | None = Field(default=None, max_length=100)
    build_args: list[str] = Field(default_factory=list, sa_column=json_column())
    build_secrets: list[str] = Field(default_factory=list, sa_column=json_column())
    build_timeout_s: int = 1800
    memory_mb: int = 512
    cpus: float | None = None
    command: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    pids: int = 512
    capabilities: Capabilities = Field(
        default=Capabilities.DEFAULT, sa_type=WordColumn(Capabilities)
    )
    restart: Restart = Field(default=Restart.ALWAYS, sa_type=WordColumn(Restart))
    stop_signal: str = Field(default="SIGTERM", max_length=20)
    stop_grace_s: int = 10
    volumes: list[str] = Field(default_factory=list, sa_column=json_column())
    labels: dict[str, str] = Field(default_factory=dict, sa_column=json_column())
    keep_releases: int = 5
    created_at: datetime = Field(default_factory=now)

    # Counters, raised in the transaction that uses them.
    configuration: int = 1  # which configuration this is; a release remembers the one it had
    last_deployment: int = 0
    last_release: int = 0
    last_fence: int = 0

    # What serves now; written by the switch and by nothing else.
    live_deployment_id: int | None = None
    live_release_id: int | None = None
    live_container_id: str | None = Field(default=None, max_length=64)
    live_address: str | None = Field(default=None, max_length=64)  # "10.201.0.2:8000"
    live_slot: str | None = Field(default=None, max_length=1)  # "a" or "b": the router's server

    # What Docker last said of the live container.
    container_state: ContainerState | None = Field(
        default=None,
        sa_type=WordColumn(ContainerState),
    )
    container_reason: str = Field(default="", max_length=500)


class EnvironmentVariable(SQLModel, table=True):
    """A name and a value handed to an app's container; sealed, whether it is secret or not."""

    __tablename__ = "environment_variables"
    __table_args__ = (UniqueConstraint("app_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", ondelete="CASCADE")
    name: str = Field(max_length=200)
    sealed: bytes
    is_secret: bool = True
    changed_at: datetime = Field(default_factory=now)


class Domain(SQLModel, table=True):
    """A host name by which the router serves an app; an app's first one is its address."""

    __tablename__ = "domains"

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", index=True, ondelete="CASCADE")
    name: str = Field(max_length=253, unique=True)  # as `jobs.domain_names` writes it
    created_at: datetime = Field(default_factory=now)


class Certificate(SQLModel, table=True):
    """What proves to browsers that a domain is ours; whose app it is does not matter."""

    __tablename__ = "certificates"

    id: int | None = Field(default=None, primary_key=True)
    domain: str = Field(max_length=253, unique=True)  # may be a wildcard
    sealed: bytes  # PEM: the key, the certificate, those between it and its authority
    not_after: datetime
    created_at: datetime = Field(default_factory=now)


class Delivery(SQLModel, table=True):
    """One verified POST from GitHub and what we answered."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_repository_guid", "repository_id", "guid"),
        Index("ix_deliveries_repository_body", "repository_id", "body_sha256"),
    )

    id: int | None = Field(default=None, primary_key=True)
    guid: str = Field(max_length=100)
    event: str = Field(max_length=50)
    repository_id: int | None = Field(
        default=None, foreign_key="repositories.id", ondelete="SET NULL"
    )
    body_sha256: str = Field(max_length=64)
    outcome: DeliveryOutcome = Field(sa_type=WordColumn(DeliveryOutcome))
    reason: str = Field(default="", max_length=500)
    ref: str = Field(default="", max_length=500)
    commit_sha: str = Field(default="", max_length=64)
    sender: str = Field(default="", max_length=200)
    received_at: datetime = Field(default_factory=now, index=True)


class Release(SQLModel, table=True):
    """Image, configuration and environment at one moment. Never changed once written."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("app_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", index=True, ondelete="CASCADE")
    number: int
    deployment_id: int  # the deployment that made it
    commit_sha: str = Field(max_length=64)
    image: str = Field(max_length=300)  # the tag it was built under
    image_id: str = Field(max_length=100)  # what Docker calls the image: sha256:…
    configuration: int  # the app's configuration counter at that moment
    build: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # BuildSettings
    container: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # ContainerSettings
    environment: bytes  # sealed: the variables, as JSON
    created_at: datetime = Field(default_factory=now)


class Deployment(SQLModel, table=True):
    """One attempt to put a release live."""

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("app_id", "number"),
        # What makes a push deploy once: GitHub's GUID, and the signed body itself.
        UniqueConstraint("app_id", "guid"),
        UniqueConstraint("app_id", "body_sha256"),
        # What lists walk backwards.
        Index("ix_deployments_app", "app_id", "id"),
        Index("ix_deployments_state", "state", "id"),
        Index("ix_deployments_trigger", "trigger", "id"),
        Index("ix_deployments_delivery", "delivery_id"),
        NUMBERS_ONCE,
    )

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", ondelete="CASCADE")
    number: int
    kind: Kind = Field(sa_type=WordColumn(Kind))
    trigger: Trigger = Field(sa_type=WordColumn(Trigger))
    state: DeploymentState = Field(
        default=DeploymentState.QUEUED,
        sa_type=WordColumn(DeploymentState),
    )
    reason: str = Field(default="", max_length=1000)
    ref: str = Field(max_length=500)  # full ref of a push; branch or sha of a manual one
    commit_sha: str = Field(default="", max_length=64)  # empty until a branch has been resolved
    commit_message: str = Field(default="", max_length=2000)
    author: str = Field(default="", max_length=200)
    actor: str = Field(max_length=200)
    delivery_id: int | None = Field(default=None, foreign_key="deliveries.id", ondelete="SET NULL")
    guid: str | None = Field(default=None, max_length=100)
    body_sha256: str | None = Field(default=None, max_length=64)
    before_sha: str | None = Field(default=None, max_length=64)
    # Seconds; GitHub's, the order pushes were made in.
    pushed_at: int | None = Field(default=None, sa_type=BigInteger)
    release_id: int | None = Field(default=None, foreign_key="releases.id", ondelete="SET NULL")
    attempts: int = 0  # how often a worker has begun it
    cancelled_by: str | None = Field(default=None, max_length=200)
    replaced_by: int | None = None  # the number of a newer push that is not to wait for this one
    queued_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Step(SQLModel, table=True):
    """One stage of a deployment."""

    __tablename__ = "steps"
    __table_args__ = (UniqueConstraint("deployment_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    deployment_id: int = Field(foreign_key="deployments.id", ondelete="CASCADE")
    name: StepName = Field(sa_type=WordColumn(StepName))
    state: StepState = Field(sa_type=WordColumn(StepState))
    reason: str = Field(default="", max_length=1000)
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None


class Lease(SQLModel, table=True):
    """Who may act on an app now. The fence grows with every lease of the app."""

    __tablename__ = "leases"

    app_id: int = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    deployment_id: int
    holder: str = Field(max_length=200)
    fence: int
    expires_at: datetime = Field(index=True)


class CommitStatus(SQLModel, table=True):
    """The outbox: a commit status GitHub should be told."""

    __tablename__ = "commit_statuses"

    id: int | None = Field(default=None, primary_key=True)
    deployment_id: int = Field(foreign_key="deployments.id", index=True, ondelete="CASCADE")
    state: GitHubState = Field(sa_type=WordColumn(GitHubState))
    description: str = Field(max_length=140)
    created_at: datetime = Field(default_factory=now)
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default_factory=now, index=True)  # None: settled
    posted_at: datetime | None = None
    error: str = Field(default="", max_length=500)


class AuditEvent(SQLModel, table=True):
    """Who did what to which thing, when. Only ever added to."""

    __tablename__ = "audit_events"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=now, index=True)
    tag: str = Field(max_length=64, index=True)  # "deployment.requested"
    actor: str = Field(max_length=200)  # "user:ada", "token:ci", "webhook:octocat", "cli:root"
    target: str = Field(max_length=200)  # "app:web", "deployment:41"
    address: str = Field(default="", max_length=64)
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class User(SQLModel, table=True):
    """A person who may log in."""

    __tablename__ = "users"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    role: Role = Field(sa_type=WordColumn(Role))
    password_hash: str = Field(max_length=200)
    disabled_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)


class LoginSession(SQLModel, table=True):
    """A browser that is logged in; the cookie's value is stored hashed."""

    __tablename__ = "login_sessions"

    id: int | None = Field(default=None, primary_key=True)
    hashed: str = Field(max_length=64, unique=True)
    user_id: int = Field(foreign_key="users.id", index=True, ondelete="CASCADE")
    csrf_token: str = Field(max_length=64)
    created_at: datetime = Field(default_factory=now)
    last_seen_at: datetime = Field(default_factory=now)


class ApiToken(SQLModel, table=True):
    """A program's key to the API; stored hashed, shown once."""

    __tablename__ = "api_tokens"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    hashed: str = Field(max_length=64, unique=True)
    role: Role = Field(sa_type=WordColumn(Role))
    created_by: str = Field(max_length=200)
    created_at: datetime = Field(default_factory=now)
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class BlockedPort(SQLModel, table=True):
    """A port of the range that some other program listens on, so no app may be given it."""

    __tablename__ = "blocked_ports"
    __table_args__ = (CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),)

    port: int = Field(primary_key=True)
    seen_at: datetime = Field(default_factory=now)


class DomainPort(SQLModel, table=True):
    """A port on which the router serves domains, since it was started last."""

    __tablename__ = "domain_ports"

    scheme: str = Field(primary_key=True, max_length=5)  # "http" or "https"
    port: int


class Identity(SQLModel, table=True):
    """One row: what tells this Keystone from another on the same Docker Engine."""

    __tablename__ = "identity"

    id: int = Field(default=1, primary_key=True)
    name: str = Field(max_length=16)  # six letters, part of every container and image name
