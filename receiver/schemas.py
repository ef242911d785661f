"""The API's input models that are not in `jobs.rules.app_fields`, and its small answers.

Every field is typed and bounded; unknown fields are refused.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from jobs.reads.views import TokenView, View
from jobs.records.tokens import DEFAULT_DAYS, LONGEST_DAYS
from jobs.rules.field_types import AppName, Ref, Said, Token
from jobs.rules.passwords import SHORTEST
from jobs.rules.push_payload import LARGEST_ID as LARGEST_GITHUB_ID
from jobs.states import DeliveryOutcome, DeploymentState, Role, Trigger

# The largest value of an integer column in all supported databases.
LARGEST_ID = 2**31 - 1
LARGEST_OFFSET = 2**40  # bytes; no log is that long
LARGEST_PEM = 256 * 1024
YEARS = range(1970, 3000)
PASSWORD = f"{SHORTEST} characters or more, and not made of common words, names or rows of keys"
DEPLOYMENT_TEXT = "Some part of the message or the ref, or the beginning of the commit id"
KIND = (
    "Whether the value is never shown again; null: an existing variable keeps its kind, and a new "
    "one is a secret if its name or a password in its value says so"
)
DELIVERY_TEXT = "Some part of ref, sender or reason, or the beginning of GUID or commit id"


def _within_reach(moment: datetime) -> datetime:
    # Close to the ends of the calendar, conversion to UTC overflows.
    if moment.year not in YEARS:
        raise ValueError(f"must be of a year from {YEARS[0]} to {YEARS[-1]}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_within_reach)]
Cursor = Annotated[int, Field(ge=1, le=LARGEST_ID)]
PageSize = Annotated[int, Field(ge=1, le=100)]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


# A button sends this, which makes a second click idempotent.
After = Annotated[int, Field(ge=0, le=LARGEST_ID)]
AFTER = (
    "The number of the app's last deployment that you know of; repeating a request with the same "
    "number, while its deployment is queued or running or for a minute, gives that deployment again"
)


class LineFormat(StrEnum):
    """How the lines of a log are sent."""

    TEXT = "text"
    HTML = "html"


class Input(BaseModel):
    """Base of the input models; values from a form or a query are parsed from text."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, strict=True)


class DeployInput(Input):
    """What to deploy."""

    ref: Ref | None = Field(
        None,
        description="A branch, a full ref or a whole commit id; null: the app's branch, or its "
        "newest tag if only tags deploy it",
    )
    after: After | None = Field(None, description=AFTER)


class DeploymentQuery(Input):
    """Which deployments to list."""

    app: AppName | None = None
    state: DeploymentState | None = None
    trigger: Trigger | None = None
    author: Word | None = Field(None, description="Some part of the name")
    text: Word | None = Field(None, description=DEPLOYMENT_TEXT)
    limit: PageSize = 20
    before: Cursor | None = Field(None, description="`next` of the page before")


class DeliveryQuery(Input):
    """Which deliveries to list."""

    repository: Word | None = Field(None, description="owner/name")
    outcome: DeliveryOutcome | None = None
    event: Word | None = Field(None, description="`push`, `ping`, …")
    text: Word | None = Field(None, description=DELIVERY_TEXT)
    limit: PageSize = 20
    before: Cursor | None = Field(None, description="`next` of the page before")


class PageQuery(Input):
    """Which page of a list to give."""

    limit: PageSize = 20
    before: Cursor | None = Field(None, description="`next` of the page before")


class AuditQuery(PageQuery):
    """Which audit events to list."""

    actor: Word | None = Field(None, description="Who, like `user:ada`")
    tag: Word | None = Field(
        None, description="What: a tag or its beginning, like `login.failed` or `deployment`"
    )
    target: Word | None = Field(None, description="To which thing, like `app:web`")
    since: Moment | None = Field(None, description="From this time on, like 2026-11-23T00:00:00Z")
    until: Moment | None = Field(None, description="Before this time")


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


class FollowQuery(OffsetQuery):
    """How to follow a deployment."""

    lines: LineFormat = Field(
        LineFormat.TEXT,
        description="`html`: lines as the pages show them, and the build's steps as `build` events",
    )


class TailQuery(Input):
    """How much of an output to give."""

    tail: int = Field(200, ge=1, le=5000, description="Lines")
    lines: LineFormat = Field(
        LineFormat.TEXT, description="`html`: lines as HTML, as the pages insert them"
    )


class VariableInput(Input):
    """The value of an environment variable."""

    value: SecretStr
    secret: bool | None = Field(None, description=KIND)


class VariablesInput(Input):
    """The text of a `.env` file."""

    text: SecretStr = Field(
        description="Lines of NAME=value; quotes, comments, `export` and values of several lines "
        "mean what they mean to Docker Compose, and nothing is expanded"
    )
    secret: bool | None = Field(None, description=KIND)


class RollbackInput(Input):
    """Which release to go back to."""

    release: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(
        None, description="A release's number; null: the one before the live one"
    )
    after: After | None = Field(None, description=AFTER)


class CertificateInput(Input):
    """A domain's certificate and its key, both as PEM."""

    certificate: str = Field(
        max_length=LARGEST_PEM, description="The domain's, then those it depends on"
    )
    key: SecretStr = Field(max_length=LARGEST_PEM, description="Without a passphrase; write-only")


class RepositoryChange(Input):
    """The fields of a repository that can be changed."""

    github_id: Annotated[int, Field(ge=1, le=LARGEST_GITHUB_ID)] | None = Field(
        description="GitHub's id (`GET /repos/{owner}/{name}` of its API); null: forget it"
    )


class RepositoryTokenInput(Input):
    """A repository's token."""

    token: Token = Field(description="Empty: take it away")


class OverlapInput(Input):
    """How long older webhook secrets verify beside the new one."""

    overlap_hours: int = Field(
        24, ge=0, le=720, description="0: they end at once, since somebody else knows them"
    )


class WebhookSecretInput(OverlapInput):
    """A webhook secret that the caller has chosen."""

    secret: SecretStr = Field(description="16 to 200 characters; write-only")


class UserInput(Input):
    """A new user."""

    name: AppName
    role: Said[Role]
    password: SecretStr = Field(max_length=1000, description=PASSWORD.capitalize())


class UserChange(Input):
    """The fields of a user that can be changed; a field that is not given stays as it is."""

    role: Said[Role] | None = None
    disabled: bool | None = None
    password: SecretStr | None = Field(None, max_length=1000)


class TokenInput(Input):
    """A new API token."""

    name: AppName
    role: Said[Role]
    expires_in_days: int = Field(
        DEFAULT_DAYS, ge=1, le=LONGEST_DAYS, description="How long it works"
    )


class LoginInput(Input):
    """A name and its password."""

    name: str = Field(max_length=63)
    password: SecretStr = Field(max_length=1000)
    next: str = Field("/", max_length=2000, description="Where a form goes on: a path of ours")


class LogoutInput(Input):
    """Which sessions to end."""

    everywhere: bool = Field(default=False, description="Whether every session of the user ends")


class PasswordInput(Input):
    """A new password for the user who is logged in."""

    present_password: SecretStr = Field(max_length=1000)
    password: SecretStr = Field(max_length=1000, description=f"The new one: {PASSWORD}")
    next: str = Field("/", max_length=2000, description="Where a form goes on: a path of ours")


class CreatedTokenView(TokenView):
    """A new API token, with its value, which is shown only once."""

    token: str


class LoggedInView(View):
    """The user who has just logged in."""

    name: str
    role: Role
    csrf_token: str = Field(description="Send it as X-CSRF-Token with every change")


class QueuedView(View):
    """A deployment that a delivery led to."""

    id: int
    app: str
    number: int
    commit_sha: str


class DeliveryAnswer(View):
    """The answer to GitHub for a delivery."""

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
