"""What is deployed: repositories, apps, and what is configured for them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from jobs.rules.app_settings import BuildSettings, ContainerSettings, PushRules
from jobs.states import (
    ContainerState,
    IdentitySource,
)
from jobs.storage.columns import NUMBERS_ONCE, OneLine, ValueColumn, WordColumn, now


class TokenUse(StrEnum):
    """What a token was used for when it was refused: it may do one thing and not the other."""

    FETCH = "fetch"
    API = "api"


class Repository(SQLModel, table=True):
    """A GitHub repository that apps are deployed from."""

    __tablename__ = "repositories"
    # The mirror on disk is named by the id.
    __table_args__ = (NUMBERS_ONCE,)

    id: int | None = Field(default=None, primary_key=True)
    # From GitHub's API or from an operator, never from a delivery.
    github_id: int | None = Field(default=None, unique=True, sa_type=BigInteger)
    identity_from: IdentitySource | None = Field(default=None, sa_type=WordColumn(IdentitySource))
    identity_checked_at: datetime | None = None  # when GitHub confirmed it, or an operator gave it
    identity_due_at: datetime | None = None  # when GitHub is asked next; None: as soon as may be
    identity_paused_until: datetime | None = None  # until when GitHub is not asked
    identity_problem: str | None = Field(default=None, sa_type=OneLine(500))
    full_name: str = Field(max_length=200)  # as GitHub spells it
    # A delivery gave the name to an earlier version, and nobody has confirmed it since.
    is_name_claimed: bool = False
    name_key: str = Field(max_length=200, unique=True)  # lower case: GitHub ignores case
    git_url: str = Field(max_length=500)
    token_problem: str | None = Field(default=None, sa_type=OneLine(500))  # GitHub's own word
    token_problem_of: TokenUse | None = Field(default=None, sa_type=WordColumn(TokenUse))
    token_expires_at: datetime | None = None  # of the token that was used last, if GitHub says
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
    # Of a webhook secret that another one takes the place of: it verifies until then.
    expires_at: datetime | None = None


class App(SQLModel, table=True):
    """A thing we deploy, how it is configured, and what of it is live now."""

    __tablename__ = "apps"
    __table_args__ = (NUMBERS_ONCE,)

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    repository_id: int = Field(foreign_key="repositories.id", index=True)
    branch: str = Field(default="main", max_length=250)
    host_port: int = Field(unique=True)
    auto_deploy: bool = True
    paused_reason: str = Field(default="", sa_type=OneLine(500))  # why auto-deploy was switched off
    push_rules: PushRules = Field(default=PushRules(), sa_type=ValueColumn(PushRules))
    build: BuildSettings = Field(default=BuildSettings(), sa_type=ValueColumn(BuildSettings))
    container: ContainerSettings = Field(
        default=ContainerSettings(), sa_type=ValueColumn(ContainerSettings)
    )
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

    # For its first minute the live release is on trial (`jobs.duties.trials`). What served before
    # it is kept meanwhile: its container stopped, and ready to start again.
    trial_ends_at: datetime | None = None  # None: it has stood its trial, or failed it
    live_ends: int = 0  # how often its container has ended so far
    live_restarts: int = 0  # which of them the engine counted at the last look
    fallback_release_id: int | None = None
    fallback_container_id: str | None = Field(default=None, max_length=64)

    # What Docker last said of the live container.
    container_state: ContainerState | None = Field(
        default=None,
        sa_type=WordColumn(ContainerState),
    )
    container_reason: str = Field(default="", sa_type=OneLine(500))
    container_restarts: int | None = None  # of which the reason tells; None: of none


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
    name: str = Field(max_length=253, unique=True)  # as `jobs.rules.domain_names` writes it
    created_at: datetime = Field(default_factory=now)


class Certificate(SQLModel, table=True):
    """What proves to browsers that a domain is ours; whose app it is does not matter."""

    __tablename__ = "certificates"

    id: int | None = Field(default=None, primary_key=True)
    domain: str = Field(max_length=253, unique=True)  # may be a wildcard
    sealed: bytes  # PEM: the key, the certificate, those between it and its authority
    not_after: datetime
    created_at: datetime = Field(default_factory=now)


class BlockedPort(SQLModel, table=True):
    """A port of the range that some other program listens on, so no app may be given it."""

    __tablename__ = "blocked_ports"
    __table_args__ = (CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),)

    port: int = Field(primary_key=True)
    seen_at: datetime = Field(default_factory=now)
