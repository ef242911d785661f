"""Tables for deploying: deliveries, releases, deployments, steps, leases, commit statuses."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Index,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from jobs.rules.app_settings import BuildSettings, ContainerSettings
from jobs.states import (
    DeliveryOutcome,
    DeploymentState,
    GitHubState,
    Kind,
    Refusal,
    StepName,
    StepState,
    Trigger,
)
from jobs.storage.columns import (
    NUMBERS_ONCE,
    DoneBySomebody,
    OneLine,
    SeveralLines,
    ShownName,
    ValueColumn,
    WordColumn,
    now,
)


class Delivery(SQLModel, table=True):
    """One verified POST from GitHub, and the response."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_repository_guid", "repository_id", "guid"),
        Index("ix_deliveries_repository_body", "repository_id", "body_sha256"),
        Index("ix_deliveries_repository", "repository_id", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    guid: str = Field(max_length=100)
    event: str = Field(max_length=50)
    repository_id: int | None = Field(
        default=None, foreign_key="repositories.id", ondelete="SET NULL"
    )
    body_sha256: str = Field(max_length=64)
    outcome: DeliveryOutcome = Field(sa_type=WordColumn(DeliveryOutcome))
    reason: str = Field(default="", sa_type=OneLine(500))
    ref: str = Field(default="", max_length=500)
    commit_sha: str = Field(default="", max_length=64)
    sender: str = Field(default="", sa_type=ShownName(200))
    received_at: datetime = Field(default_factory=now, index=True)


class RefusedDelivery(SQLModel, table=True):
    """POSTs to the webhook refused for the same reason, repository and address, counted together.

    The values are unverified claims of the sender. `jobs.records.refusals` bounds the rows.
    """

    __tablename__ = "refused_deliveries"

    id: int | None = Field(default=None, primary_key=True)
    # The configured repository that was claimed; None: an unknown one, or none at all.
    repository_id: int | None = Field(
        default=None, foreign_key="repositories.id", index=True, ondelete="CASCADE"
    )
    claimed: str = Field(default="", max_length=201)  # "owner/name" of the last claim
    address: str = Field(default="", max_length=64)  # empty: several addresses counted together
    reason: Refusal = Field(sa_type=WordColumn(Refusal))
    count: int = Field(default=0, sa_type=BigInteger)
    first_at: datetime = Field(default_factory=now)
    last_at: datetime = Field(default_factory=now)


class RefusalCount(SQLModel, table=True):
    """How many POSTs to the webhook were refused for a reason since Keystone was set up."""

    __tablename__ = "refusal_counts"

    reason: str = Field(primary_key=True, max_length=32)
    count: int = Field(default=0, sa_type=BigInteger)


class Release(SQLModel, table=True):
    """An image with its configuration and environment. Never changed once written."""

    __tablename__ = "releases"
    __table_args__ = (UniqueConstraint("app_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", index=True, ondelete="CASCADE")
    number: int
    deployment_id: int  # the deployment that made it
    commit_sha: str = Field(max_length=64)
    image: str = Field(max_length=300)  # the tag it was built under
    image_id: str = Field(max_length=100)  # Docker's id of the image: sha256:…
    configuration: int  # the app's configuration counter when the release was made
    build: BuildSettings = Field(sa_type=ValueColumn(BuildSettings))
    container: ContainerSettings = Field(sa_type=ValueColumn(ContainerSettings))
    environment: bytes  # sealed: the variables, as JSON
    created_at: datetime = Field(default_factory=now)


class Deployment(DoneBySomebody, table=True):
    """One attempt to put a release live."""

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("app_id", "number"),
        # A push deploys once: neither GitHub's GUID nor the signed body may repeat.
        UniqueConstraint("app_id", "guid"),
        UniqueConstraint("app_id", "body_sha256"),
        # A request deploys once, however often it is repeated.
        Index("ix_deployments_request", "app_id", "request_key", unique=True),
        # For lists, which are read backwards.
        Index("ix_deployments_app", "app_id", "id"),
        # For the last deployment of a ref, which is read while holding the write lock.
        Index("ix_deployments_app_ref", "app_id", "ref", "id"),
        Index("ix_deployments_app_state", "app_id", "state", "id"),
        Index("ix_deployments_app_trigger", "app_id", "trigger", "id"),
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
    reason: str = Field(default="", sa_type=OneLine(1000))
    ref: str = Field(max_length=500)  # a push's full ref; a manual request's branch or commit id
    commit_sha: str = Field(default="", max_length=64)  # empty until the branch is resolved
    commit_message: str = Field(default="", sa_type=SeveralLines(2000))
    author: str = Field(default="", sa_type=ShownName(200))
    delivery_id: int | None = Field(default=None, foreign_key="deliveries.id", ondelete="SET NULL")
    guid: str | None = Field(default=None, max_length=100)  # GitHub's GUID of a push
    request_key: str | None = Field(default=None, max_length=100)  # identifies a repeated request
    body_sha256: str | None = Field(default=None, max_length=64)
    before_sha: str | None = Field(default=None, max_length=64)
    # Seconds by GitHub's clock; gives the order of pushes.
    pushed_at: int | None = Field(default=None, sa_type=BigInteger)
    release_id: int | None = Field(default=None, foreign_key="releases.id", ondelete="SET NULL")
    attempts: int = 0  # how often a worker has started it
    cancelled_by: str | None = Field(default=None, sa_type=ShownName(200))
    replaced_by: int | None = None  # the number of a newer push that replaces this deployment
    recovers_id: int | None = None  # for a recovery: the deployment whose release did not stay up
    gives_way: bool = False  # must go back into the queue, so that a recovery comes first
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
    reason: str = Field(default="", sa_type=OneLine(1000))
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None


class Lease(SQLModel, table=True):
    """The lease on an app: its holder alone may act on it. The fence grows with every lease."""

    __tablename__ = "leases"

    app_id: int = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    deployment_id: int
    holder: str = Field(max_length=200)
    fence: int
    expires_at: datetime = Field(index=True)


class CommitStatus(SQLModel, table=True):
    """The outbox: a commit status to send to GitHub."""

    __tablename__ = "commit_statuses"

    id: int | None = Field(default=None, primary_key=True)
    deployment_id: int = Field(foreign_key="deployments.id", index=True, ondelete="CASCADE")
    state: GitHubState = Field(sa_type=WordColumn(GitHubState))
    description: str = Field(sa_type=OneLine(140))
    created_at: datetime = Field(default_factory=now)
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default_factory=now, index=True)  # None: settled
    posted_at: datetime | None = None
    error: str = Field(default="", sa_type=OneLine(500))
