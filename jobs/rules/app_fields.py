"""What somebody may ask an app to be: typed, bounded, and refused with a sentence. Pure.

Everything here ends up in git's, Docker's or the router's hands, so each field says exactly what it
may hold (FACTS E: most break-ins of deploy tools came in through such a field).
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from jobs.errors import ConfigurationError
from jobs.rules.domain_names import is_metadata, plain_domain
from jobs.rules.naming import VARIABLE_NAME
from jobs.rules.text import TRICKS
from jobs.rules.triggers import BRANCH_PREFIX, TAG_PREFIX, is_sha
from jobs.states import Capabilities, Health, OnNewPush, Restart

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# No image may be called by a name that ends with a dash.
APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Enterprise-managed owners have an underscore in their names.
FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9._-]{1,100}")
# What git check-ref-format refuses, control characters, and halves of characters.
BAD_IN_REF = re.compile(
    r"[\x00-\x20\x7f\ud800-\udfff~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$"
)
BAD_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]")
MOST_LABELS = 50
BAD_IN_URL = re.compile(r"[\x00-\x20\x7f\"'`;|&$<>(){}\\^]")


def _app_name(value: str) -> str:
    if not APP_NAME.fullmatch(value):
        raise ValueError(
            "use 1 to 63 lower-case letters, digits and dashes, with no dash first or last"
        )
    if value == "new":
        raise ValueError("new is the address of the page that adds apps; choose another name")
    return value


def _full_name(value: str) -> str:
    plain = value.removesuffix(".git")
    if not FULL_NAME.fullmatch(plain) or plain.endswith(("/.", "/..")):
        raise ValueError('write the repository as "owner/name", the way GitHub shows it')
    return plain


def _branch(value: str) -> str:
    if not value or BAD_IN_REF.search(value) or len(value.encode()) > 250:  # noqa: PLR2004
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
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises when there is none like that
    except ValueError:
        raise ValueError("must be a URL like https://github.com/owner/name.git") from None
    if parts.scheme not in {"https", "http", "file"}:
        raise ValueError("must be a URL like https://github.com/owner/name.git")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a token; give the token as `token`")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("names no host")
    if is_metadata(parts.hostname or ""):
        raise ValueError("names an address that no git server has")
    if BAD_IN_URL.search(value) or parts.query or parts.fragment:
        raise ValueError("holds characters that no git URL needs")
    return value


def _status_range(value: str) -> str:
    found = re.fullmatch(r"([1-5]\d\d)(?:-([1-5]\d\d))?", value)
    if found is None or int(found[1]) > int(found[2] or found[1]):
        raise ValueError("must be a status like 200, or a range like 200-399")
    return value


def _variable(value: str) -> str:
    if not VARIABLE_NAME.fullmatch(value):
        raise ValueError("is not the name of an environment variable")
    return value


def _volume(value: str) -> str:
    name, _, path = value.partition(":")
    if not NAME.fullmatch(name):
        raise ValueError("must be a volume's name and a path, like data:/var/lib/app")
    # A colon would bring a third part, with options of the engine's.
    if not re.fullmatch(r"/[^:\x00-\x1f\x7f]+", path) or ".." in path.split("/"):
        raise ValueError("must mount the volume at an absolute path, like data:/var/lib/app")
    return value


def _label(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/@-]*", value):
        raise ValueError("is not a name for a label")
    if value.startswith("keystone."):
        raise ValueError("labels that begin with keystone. are Keystone's own")
    return value


def _readable(value: str) -> str:
    if "\0" in value:
        raise ValueError("cannot hold a zero byte")
    if TRICKS.search(value):
        raise ValueError("holds characters that nobody sees, or that turn the direction of text")
    return value


def _each_once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _few(value: object) -> object:
    # Before each entry is judged: a hundred thousand mistakes take a third of a second to describe.
    if isinstance(value, dict) and len(value) > MOST_LABELS:
        raise ValueError(f"can have at most {MOST_LABELS} entries")
    return value


def _one_word(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of printable characters")
    return value


Choice = TypeVar("Choice", bound=StrEnum)
# One of some words, given as text also where everything else must be of its own type.
Said = Annotated[Choice, Field(strict=False)]
AppName = Annotated[str, AfterValidator(_app_name)]
RepositoryName = Annotated[str, AfterValidator(_full_name)]
Branch = Annotated[str, AfterValidator(_branch), AfterValidator(_readable)]
PathInside = Annotated[
    str, Field(max_length=250), AfterValidator(_inside), AfterValidator(_readable)
]
HealthPath = Annotated[str, Field(max_length=500), AfterValidator(_health_path)]
GitUrl = Annotated[str, Field(max_length=500), AfterValidator(_git_url), AfterValidator(_readable)]
Port = Annotated[int, Field(ge=1, le=65535)]
VariableName = Annotated[str, AfterValidator(_variable)]
Pattern = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_readable)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")]
Signal = Annotated[str, Field(pattern=r"^SIG[A-Z0-9+]{2,12}$")]
StatusRange = Annotated[str, AfterValidator(_status_range)]
Volume = Annotated[str, Field(max_length=300), AfterValidator(_volume), AfterValidator(_readable)]
LabelName = Annotated[str, Field(max_length=200), AfterValidator(_label)]
Phrase = Annotated[str, Field(min_length=3, max_length=100), AfterValidator(_readable)]
Token = Annotated[SecretStr, Field(max_length=500), AfterValidator(_one_word)]
Argument = Annotated[str, Field(max_length=4096), AfterValidator(_readable)]
DomainName = Annotated[str, Field(max_length=300), AfterValidator(plain_domain)]


LONGEST_REF = 500
MOST_SENTENCES, LONGEST_PLACE = 100, 200
SHORTEST_SHORT_SHA = 7
WHOLE_SHA = 40
_BRANCH: TypeAdapter[str] = TypeAdapter(Branch)


def full_ref(text: str) -> str:
    """Give the full name of what somebody asks to be deployed: a ref, or a whole commit id.

    Raises:
        ValueError: it is neither, or could be too many things.
    """
    lowered = text.lower()
    if is_sha(lowered):
        return lowered
    if SHORTEST_SHORT_SHA <= len(text) < WHOLE_SHA and set(lowered) <= set("0123456789abcdef"):
        raise ValueError(
            f"looks like a short commit id; give all {WHOLE_SHA} characters of it, "
            f"or {BRANCH_PREFIX}{text} for a branch"
        )
    prefix = next((p for p in (BRANCH_PREFIX, TAG_PREFIX) if text.startswith(p)), BRANCH_PREFIX)
    name = text.removeprefix(prefix)
    if name in {"HEAD", "@"}:
        raise ValueError("name a branch, or give a whole commit id")
    return prefix + _BRANCH.validate_python(name)


Ref = Annotated[str, Field(max_length=LONGEST_REF), AfterValidator(full_ref)]
_REF: TypeAdapter[str] = TypeAdapter(Ref)


class AppChange(BaseModel):
    """What of an app can be changed; a field that is not given stays as it is."""

    # Strict: JSON and TOML say what is a number and what is not, and `true` is none.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    branch: Branch = Field("main", description="The branch whose pushes are deployed")
    dockerfile: PathInside = Field("Dockerfile", description="Path inside the context")
    context: PathInside = Field(".", description="The folder that is built")
    container_port: Port = Field(8000, description="Where the app listens inside its container")
    host_port: Port | None = Field(None, description="Where the router listens; null: allocated")
    health: Said[Health] = Field(
        Health.HTTP,
        description="How a new container shows that it can serve: http: it answers a GET; tcp: it "
        "accepts connections, which proves little; none: it keeps running for 5 s",
    )
    health_path: HealthPath | None = Field(
        None, description="Asked by GET; null: /, where any answer below 500 will do"
    )
    health_timeout_s: int = Field(
        30, ge=1, le=3600, description="How long a start may take, from the first look"
    )
    health_status: StatusRange | None = Field(
        None,
        description="The statuses that are healthy; null: 200-399 with a path of the app's own, "
        "200-499 without one",
    )
    health_interval_s: float | None = Field(
        None, ge=0.01, le=600, description="Between two looks; null: short at first, then longer"
    )
    health_successes: int = Field(1, ge=1, le=100, description="Healthy looks needed in a row")
    auto_deploy: bool = Field(default=True, description="Whether pushes deploy")
    on_new_push: Said[OnNewPush] = Field(
        OnNewPush.WAIT, description="Whether a newer push waits for a running one or replaces it"
    )
    watch_paths: list[Pattern] = Field(
        [], max_length=100, description="A push that touches none of them is not deployed"
    )
    tag_pattern: Pattern | None = Field(None, description="Tags that deploy, like v*; null: none")
    skip_phrases: list[Phrase] = Field(
        ["[skip ci]", "[ci skip]", "[no ci]", "[skip deploy]"],
        max_length=20,
        description="A head commit whose message holds one is not deployed",
    )
    build_target: Word | None = Field(None, description="The stage to build; null: the last one")
    build_args: list[VariableName] = Field(
        [], max_length=100, description="Variables that are build arguments, too"
    )
    build_secrets: list[VariableName] = Field(
        [], max_length=100, description="Variables that are build secrets, too, by their names"
    )
    build_timeout_s: int = Field(1800, ge=1, le=7200, description="How long a build may take")
    memory_mb: int = Field(512, ge=6, le=1_048_576, description="The container's memory limit")
    cpus: float | None = Field(None, gt=0, le=1024, description="CPU limit; null: none")
    command: list[Argument] | None = Field(
        None, min_length=1, max_length=100, description="Instead of the image's own; null: its own"
    )
    pids: int = Field(512, ge=1, le=100_000, description="The container's process limit")
    capabilities: Said[Capabilities] = Field(
        Capabilities.DEFAULT, description="The Linux capabilities the container keeps"
    )
    new_privileges: bool = Field(
        default=False, description="Whether a program may gain privileges, as sudo does by setuid"
    )
    init: bool = Field(
        default=True,
        description="Docker's init as PID 1; off for an image that brings one, like s6-overlay",
    )
    restart: Said[Restart] = Field(
        Restart.ALWAYS, description="When the live container is started again"
    )
    stop_signal: Signal = Field("SIGTERM", description="What asks the container to end")
    drain_timeout_s: int = Field(
        30, ge=0, le=3600, description="How long requests may finish before the old one is stopped"
    )
    stop_grace_s: int = Field(10, ge=0, le=600, description="From that signal to SIGKILL")
    volumes: list[Volume] = Field(
        [], max_length=20, description="Named volumes, as name:/path; kept across deployments"
    )
    labels: Annotated[dict[LabelName, Argument], BeforeValidator(_few)] = Field(
        {}, max_length=MOST_LABELS, description="Labels for the container, besides Keystone's own"
    )
    domains: Annotated[list[DomainName], AfterValidator(_each_once)] = Field(
        [], max_length=50, description="Host names the router serves it by; the first is its URL"
    )
    keep_releases: int = Field(5, ge=1, le=100, description="Releases kept for a rollback")
    git_url: GitUrl | None = Field(None, description="Null: GitHub's https URL")
    token: Token | None = Field(None, description="The repository's token; write-only")

    def given(self) -> dict[str, Any]:
        """Give only the fields that were named by the caller."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class AppPatch(AppChange):
    """A change by the API, which may be sent all that a new app is made of."""

    name: AppName | None = Field(None, description="As it is: an app keeps its name")
    repository: RepositoryName | None = Field(None, description="As it is, too")


class AppInput(AppChange):
    """What a new app is."""

    name: AppName = Field(description="Unique; part of container names and statuses")
    repository: RepositoryName = Field(description="owner/name on GitHub")


Input = TypeVar("Input", bound=BaseModel)


def parse_input(wanted: type[Input], data: object, *, is_text: bool = False) -> Input:
    """Check what somebody typed.

    Args:
        is_text: it comes from where everything is text: a form, a query, a command line. Then
            numbers are read from it; else only a number is one.

    Raises:
        ConfigurationError: one sentence per mistake, each beginning with the field's name.
    """
    try:
        return wanted.model_validate(data, strict=False if is_text else None)
    except ValidationError as exc:
        raise ConfigurationError(*sentences(exc)) from None


def sentences(exc: ValidationError) -> Sequence[str]:
    """Say each mistake as `field: what is wrong`, without quoting the value."""
    errors = exc.errors(include_input=False, include_url=False)
    told = [f"{_place(error['loc'])}: {_plain(error['type'], error['msg'])}" for error in errors]
    if len(told) > MOST_SENTENCES:
        return [*told[:MOST_SENTENCES], f"body: and {len(told) - MOST_SENTENCES} mistakes more"]
    return told


def _place(path: tuple[int | str, ...]) -> str:
    # A name that nobody knows may be as long as the whole body.
    return ".".join(map(str, path))[:LONGEST_PLACE] or "body"


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


def parse_ref(text: str) -> str:
    """Give the full name of the ref or commit that somebody typed.

    Raises:
        ConfigurationError: it is neither, or could be too many things.
    """
    try:
        return _REF.validate_python(text)
    except ValidationError as exc:
        raise ConfigurationError(
            *(f"ref: {sentence.partition(': ')[2]}" for sentence in sentences(exc))
        ) from None
