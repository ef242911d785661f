"""Tables for apps: repositories, apps, and their configuration."""

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
    """The use for which a token was refused: a token may be valid for one use only."""

    FETCH = "fetch"
    API = "api"


class Repository(SQLModel, table=True):
    """A GitHub repository that apps are deployed from."""

    __tablename__ = "repositories"
    # The id is never reused: it names the mirror on disk.
    __table_args__ = (NUMBERS_ONCE,)

    id: int | None = Field(default=None, primary_key=True)
    # Set from GitHub's API or by an operator, never from a delivery.
    github_id: int | None = Field(default=None, unique=True, sa_type=BigInteger)
    identity_from: IdentitySource | None = Field(default=None, sa_type=WordColumn(IdentitySource))
    identity_checked_at: datetime | None = None  # when GitHub confirmed it, or an operator set it
    identity_due_at: datetime | None = None  # when to ask GitHub next; None: as soon as possible
    identity_paused_until: datetime | None = None  # do not ask GitHub before this time
    identity_problem: str | None = Field(default=None, sa_type=OneLine(500))
    full_name: str = Field(max_length=200)  # as GitHub spells it
    # An earlier version took the name from a delivery, and it has not been confirmed since.
    is_name_claimed: bool = False
    name_key: str = Field(max_length=200, unique=True)  # lower case: GitHub ignores case
    git_url: str = Field(max_length=500)
    token_problem: str | None = Field(default=None, sa_type=OneLine(500))  # GitHub's message
    token_problem_of: TokenUse | None = Field(default=None, sa_type=WordColumn(TokenUse))
    token_expires_at: datetime | None = None  # of the token used last, if GitHub reports it
    created_at: datetime = Field(default_factory=now)


class SecretKind(StrEnum):
    """The purpose of a repository's secret."""

    TOKEN = "token"  # noqa: S105
    WEBHOOK = "webhook"


class RepositorySecret(SQLModel, table=True):
    """A sealed secret of a repository, in its own table so that a wrong key breaks no lists."""

    __tablename__ = "repository_secrets"

    id: int | None = Field(default=None, primary_key=True)
    repository_id: int = Field(foreign_key="repositories.id", index=True, ondelete="CASCADE")
    kind: SecretKind = Field(sa_type=WordColumn(SecretKind))
    sealed: bytes
    created_at: datetime = Field(default_factory=now)
    # Set on a webhook secret that was rotated: it stays valid until then.
    expires_at: datetime | None = None


class App(SQLModel, table=True):
    """An app: its configuration and its live release."""

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

    # Counters, incremented in the transaction that uses them.
    configuration: int = 1  # version of the configuration; a release stores its own
    last_deployment: int = 0
    last_release: int = 0
    last_fence: int = 0

    # The release that serves now; written only when traffic is switched.
    live_deployment_id: int | None = None
    live_release_id: int | None = None
    live_container_id: str | None = Field(default=None, max_length=64)
    live_address: str | None = Field(default=None, max_length=64)  # "10.201.0.2:8000"
    live_slot: str | None = Field(default=None, max_length=1)  # "a" or "b": the router's server

    # For its first minute the live release is on trial (`jobs.duties.trials`). Until then the
    # previous release is kept, with its container stopped but ready to start again.
    trial_ends_at: datetime | None = None  # None: the trial has ended, passed or failed
    live_ends: int = 0  # how often its container has exited so far
    live_restarts: int = 0  # the engine's restart count at the last check
    fallback_release_id: int | None = None
    fallback_container_id: str | None = Field(default=None, max_length=64)
    # Until then the fallback's container is kept warm: it runs, and the router asks it for the old
    # assets (`jobs.records.warm`). None: it is stopped. Its slot is the one that is not live.
    warm_until: datetime | None = None
    warm_address: str | None = Field(default=None, max_length=64)  # like `live_address`

    # The live container's state, as Docker reported it last.
    container_state: ContainerState | None = Field(
        default=None,
        sa_type=WordColumn(ContainerState),
    )
    container_reason: str = Field(default="", sa_type=OneLine(500))
    container_restarts: int | None = None  # number of restarts that the reason is about; None: none


class EnvironmentVariable(SQLModel, table=True):
    """An environment variable of an app's container; its value is sealed, secret or not."""

    __tablename__ = "environment_variables"
    __table_args__ = (UniqueConstraint("app_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", ondelete="CASCADE")
    name: str = Field(max_length=200)
    sealed: bytes
    is_secret: bool = True
    changed_at: datetime = Field(default_factory=now)


class Domain(SQLModel, table=True):
    """A host name by which the router serves an app; an app's first domain is its address."""

    __tablename__ = "domains"

    id: int | None = Field(default=None, primary_key=True)
    app_id: int = Field(foreign_key="apps.id", index=True, ondelete="CASCADE")
    name: str = Field(max_length=253, unique=True)  # as `jobs.rules.domain_names` writes it
    created_at: datetime = Field(default_factory=now)


class Certificate(SQLModel, table=True):
    """A domain's TLS certificate and key; not bound to an app."""

    __tablename__ = "certificates"

    id: int | None = Field(default=None, primary_key=True)
    domain: str = Field(max_length=253, unique=True)  # may be a wildcard
    sealed: bytes  # PEM: the key, the certificate, the intermediate certificates
    not_before: datetime | None = None  # None: stored by a version that did not keep it
    not_after: datetime
    created_at: datetime = Field(default_factory=now)


class BlockedPort(SQLModel, table=True):
    """A port of the range that another program listens on, so that no app may get it."""

    __tablename__ = "blocked_ports"
    __table_args__ = (CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),)

    port: int = Field(primary_key=True)
    seen_at: datetime = Field(default_factory=now)
