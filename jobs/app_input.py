"""What somebody may ask an app to be: typed, bounded, and refused with a sentence. Pure.

Everything here ends up in git's, Docker's or the router's hands, so each field says exactly what it
may hold (FACTS E: most break-ins of deploy tools came in through such a field).
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from jobs.errors import ConfigurationError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
# What git check-ref-format refuses, and control characters.
BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$")
BAD_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]")
BAD_IN_URL = re.compile(r"[\x00-\x20\x7f\"'`;|&$<>(){}\\^]")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            "use 1 to 63 lower-case letters, digits and dashes, not beginning with a dash"
        )
    return value


def _full_name(value: str) -> str:
    if not FULL_NAME.fullmatch(value) or value.endswith(("/.", "/..")):
        raise ValueError('write the repository as "owner/name", the way GitHub shows it')
    return value.removesuffix(".git")


def _branch(value: str) -> str:
    if not value or len(value.encode()) > 250 or BAD_IN_REF.search(value):  # noqa: PLR2004
        raise ValueError("is not a branch name that git allows")
    if value.startswith("refs/"):
        raise ValueError("give the branch's short name, like main")
    return value


def _inside(value: str) -> str:
    parts = value.split("/")
    if not value or value.startswith("/") or ".." in parts or BAD_IN_PATH.search(value):
        raise ValueError(
            "must be a path inside the repository, without .. and not beginning with /"
        )
    return value


def _health_path(value: str) -> str:
    if not value.startswith("/") or value.startswith("//") or re.search(r"[^\x21-\x7e]", value):
        raise ValueError("must begin with one / and hold no spaces, like /health")
    return value


def _git_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http", "file"}:
        raise ValueError("must be a URL like https://github.com/owner/name.git")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a token; give the token as `token`")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("names no host")
    if BAD_IN_URL.search(value) or parts.query or parts.fragment:
        raise ValueError("holds characters that no git URL needs")
    return value


AppName = Annotated[str, AfterValidator(_name)]
RepositoryName = Annotated[str, AfterValidator(_full_name)]
Branch = Annotated[str, AfterValidator(_branch)]
PathInside = Annotated[str, Field(max_length=250), AfterValidator(_inside)]
HealthPath = Annotated[str, Field(max_length=500), AfterValidator(_health_path)]
GitUrl = Annotated[str, Field(max_length=500), AfterValidator(_git_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Phrase = Annotated[str, Field(min_length=3, max_length=100)]
Argument = Annotated[str, Field(max_length=4096)]


class AppChange(BaseModel):
    """What of an app can be changed; a field that is not given stays as it is."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    branch: Branch = Field("main", description="The branch whose pushes are deployed")
    dockerfile: PathInside = Field("Dockerfile", description="Path inside the context")
    context: PathInside = Field(".", description="The folder that is built")
    container_port: Port = Field(8000, description="Where the app listens inside its container")
    host_port: Port | None = Field(None, description="Where the router listens; null: allocated")
    health_path: HealthPath | None = Field(None, description="Asked by GET; null: TCP connect")
    health_timeout_s: int = Field(30, ge=1, le=3600, description="How long a start may take")
    auto_deploy: bool = Field(default=True, description="Whether pushes deploy")
    skip_phrases: list[Phrase] = Field(
        ["[skip ci]", "[ci skip]", "[no ci]", "[skip deploy]"],
        max_length=20,
        description="A head commit whose message holds one is not deployed",
    )
    memory_mb: int = Field(512, ge=6, le=1_048_576, description="The container's memory limit")
    cpus: float | None = Field(None, gt=0, le=1024, description="CPU limit; null: none")
    command: list[Argument] | None = Field(
        None, min_length=1, max_length=100, description="Instead of the image's own; null: its own"
    )
    keep_releases: int = Field(5, ge=1, le=100, description="Releases kept for a rollback")
    git_url: GitUrl | None = Field(None, description="Null: GitHub's https URL")
    token: SecretStr | None = Field(None, description="The repository's token; write-only")

    def given(self) -> dict[str, Any]:
        """Give only the fields that were named by the caller."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class AppInput(AppChange):
    """What a new app is."""

    name: AppName = Field(description="Unique; part of container names and statuses")
    repository: RepositoryName = Field(description="owner/name on GitHub")


Input = TypeVar("Input", bound=BaseModel)


def parse_input(wanted: type[Input], data: object) -> Input:
    """Check what somebody typed.

    Raises:
        ConfigurationError: one sentence per mistake, each beginning with the field's name.
    """
    try:
        return wanted.model_validate(data)
    except ValidationError as exc:
        raise ConfigurationError(*sentences(exc)) from None


def sentences(exc: ValidationError) -> Sequence[str]:
    """Say each mistake as `field: what is wrong`, without quoting the value."""
    return [
        f"{'.'.join(map(str, error['loc'])) or 'body'}: {_plain(error['type'], error['msg'])}"
        for error in exc.errors(include_input=False, include_url=False)
    ]


def _plain(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind == "missing":
        return "is required"
    return message.removeprefix("Value error, ")


def ensure_scheme(git_url: str, allowed: Sequence[str]) -> None:
    """Refuse a git URL whose scheme the settings do not allow.

    Raises:
        ConfigurationError: it is not allowed.
    """
    scheme = urlsplit(git_url).scheme
    if scheme not in allowed:
        raise ConfigurationError(
            f"git_url: {scheme} is not allowed; KEYSTONE_ALLOWED_GIT_SCHEMES names "
            f"{', '.join(allowed)}"
        )
