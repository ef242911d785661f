"""What the API takes, where `jobs.app_input` does not say it already, and the small answers.

Every field is typed and bounded; a field nobody knows is refused.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from jobs.app_input import AppName, Ref, Token
from jobs.states import DeliveryOutcome, DeploymentState, Role, Trigger
from jobs.views import TokenView, View

# The largest id that an integer column of every database can be asked for.
LARGEST_ID = 2**31 - 1
LARGEST_OFFSET = 2**53
LARGEST_PEM = 256 * 1024

Cursor = Annotated[int, Field(ge=1, le=LARGEST_ID)]
PageSize = Annotated[int, Field(ge=1, le=100)]


class Input(BaseModel):
    """Something that somebody sends."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class DeployInput(Input):
    """What to deploy."""

    ref: Ref | None = Field(
        None, description="A branch, a full ref or a whole commit id; null: the app's branch"
    )


class DeploymentQuery(Input):
    """Which deployments to list."""

    app: AppName | None = None
    state: DeploymentState | None = None
    trigger: Trigger | None = None
    limit: PageSize = 20
    before: Cursor | None = Field(None, description="`next` of the page before")


class PageQuery(Input):
    """Which page of a list to give."""

    limit: PageSize = 20
    before: Cursor | None = Field(None, description="`next` of the page before")


class LogQuery(Input):
    """How much of a log to give."""

    offset: int | None = Field(
        None,
        ge=0,
        le=LARGEST_OFFSET,
        description="Bytes; the `X-Next-Offset` of the part before; null: the whole log",
    )


class OffsetQuery(Input):
    """Where to begin reading."""

    offset: int = Field(
        0, ge=0, le=LARGEST_OFFSET, description="Bytes; the `X-Next-Offset` of the part before"
    )


class TailQuery(Input):
    """How much of an output to give."""

    tail: int = Field(200, ge=1, le=5000, description="Lines")


class VariableInput(Input):
    """The value of an environment variable."""

    value: SecretStr
    secret: bool = Field(default=False, description="Whether it is never shown again")


class RollbackInput(Input):
    """Which release to go back to."""

    release: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(
        None, description="A release's number; null: the one before the live one"
    )


class CertificateInput(Input):
    """A domain's certificate and its key, both as PEM."""

    certificate: str = Field(
        max_length=LARGEST_PEM, description="The domain's, then those it depends on"
    )
    key: SecretStr = Field(max_length=LARGEST_PEM, description="Without a passphrase; write-only")


class RepositoryTokenInput(Input):
    """A repository's token."""

    token: Token = Field(description="Empty: take it away")


class UserInput(Input):
    """A new user."""

    name: AppName
    role: Role
    password: SecretStr = Field(max_length=1000)


class UserChange(Input):
    """What of a user can be changed; a field that is not given stays as it is."""

    role: Role | None = None
    disabled: bool | None = None
    password: SecretStr | None = Field(None, max_length=1000)


class TokenInput(Input):
    """A new API token."""

    name: AppName
    role: Role


class LoginInput(Input):
    """A name and its password."""

    name: str = Field(max_length=63)
    password: SecretStr = Field(max_length=1000)
    next: str = Field("/", max_length=2000, description="Where a form goes on: a path of ours")


class CreatedTokenView(TokenView):
    """A new API token, with its value: it is shown this once."""

    token: str


class LoggedInView(View):
    """Who is logged in now."""

    name: str
    role: Role
    csrf_token: str = Field(description="To be sent as X-CSRF-Token with every change")


class QueuedView(View):
    """A deployment that a delivery led to."""

    id: int
    app: str
    number: int
    commit_sha: str


class DeliveryAnswer(View):
    """What GitHub is told about a delivery."""

    status: DeliveryOutcome
    delivery: str
    reason: str
    deployments: list[QueuedView]


class HealthView(View):
    """Whether the process is alive."""

    status: str


class ReadinessView(View):
    """Whether Keystone can work, part by part."""

    status: str = Field(
        description="`ok`; `degraded`: pushes are accepted but wait; `failed`: nothing is accepted"
    )
    checks: dict[str, str] = Field(
        description="`database`, `redis`, `docker`, `router`: `ok` or `failed`"
    )
