"""What a verified delivery says: GitHub's JSON as Push | Ping | Other, or PayloadError. Pure.

Only the few fields that decide something are read, each typed and bounded; what GitHub adds later
is not our business. The event's name is not signed, so the body must have what the event needs.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from jobs.triggers import Push, is_sha
from receiver.errors import PayloadError
from receiver.strict_json import strict_json

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
LARGEST_ID = 2**63 - 1
LATEST_SECOND = 2**40
LONGEST_MESSAGE = 2000
LONGEST_NAME = 200
# GitHub lists no more than this: a push that reaches either may have touched anything.
MOST_COMMITS = 2048
MOST_FILES = 3000


@dataclass(frozen=True)
class Subject:
    """The repository that a payload names."""

    github_id: int
    full_name: str


@dataclass(frozen=True)
class Ping:
    """GitHub says hello: the hook was just made."""

    subject: Subject | None  # an organization's hook belongs to no repository
    warning: str  # what looks wrong with the hook's own settings, or empty


@dataclass(frozen=True)
class Other:
    """An event that Keystone does not act on."""

    subject: Subject | None


Event = Push | Ping | Other


def _text(limit: int) -> BeforeValidator:
    """Make text storable: cut, without the characters that databases or UTF-8 refuse."""

    def clean(value: object) -> object:
        if not isinstance(value, str):
            return value
        return value[:limit].replace("\0", "").encode(errors="replace").decode()

    return BeforeValidator(clean)


def _sha(value: str) -> str:
    if not is_sha(value):
        raise ValueError("is not a whole commit id")
    return value


def _seconds(value: object) -> object:
    # A number in pushes, an ISO 8601 time everywhere else.
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


Message = Annotated[str, _text(LONGEST_MESSAGE)]
Name = Annotated[str, _text(LONGEST_NAME)]
Sha = Annotated[str, AfterValidator(_sha)]
FullName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,99}/[A-Za-z0-9._-]{1,100}$")
]
# Printable, without spaces: what git allows in a ref, and a little more.
Ref = Annotated[str, StringConstraints(pattern=r"^refs/[^\x00-\x20\x7f]{1,494}$")]
Seconds = Annotated[Annotated[int, Field(ge=0, le=LATEST_SECOND)] | None, BeforeValidator(_seconds)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Repository(_Model):
    id: int = Field(ge=1, le=LARGEST_ID)
    full_name: FullName
    pushed_at: Seconds = None


class _Author(_Model):
    name: Name | None = None
    username: Name | None = None


class _Commit(_Model):
    id: Sha
    message: Message = ""
    author: _Author | None = None


class _Listed(_Model):
    """A commit of the list, as far as it says which files it touched."""

    added: list[str] = []
    removed: list[str] = []
    modified: list[str] = []

    @property
    def paths(self) -> list[str]:
        return [*self.added, *self.removed, *self.modified]


class _Account(_Model):
    login: Name | None = None
    name: Name | None = None


class _Push(_Model):
    ref: Ref
    before: Sha
    after: Sha
    deleted: bool
    head_commit: _Commit | None
    repository: _Repository
    created: bool = False
    forced: bool = False
    commits: list[_Listed] = []
    sender: _Account | None = None
    pusher: _Account | None = None


class _HookConfig(_Model):
    content_type: str = Field(default="form", max_length=100)
    insecure_ssl: str | int = "0"


class _Hook(_Model):
    events: list[str] = Field(default=[], max_length=1000)
    config: _HookConfig = _HookConfig()


class _Ping(_Model):
    zen: str
    hook_id: int
    hook: _Hook | None = None
    repository: _Repository | None = None


class _Other(_Model):
    repository: _Repository | None = None


def parse(event: str, content_type: str, body: bytes) -> Event:
    """Read a delivery.

    Args:
        event: the value of `X-GitHub-Event`.
        content_type: `JSON` or `FORM`, without parameters.

    Raises:
        PayloadError: the body is not what such an event sends.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads (read 2026-11-23).
    """
    data = _decode(content_type, body)
    match event:
        case "push":
            return _as_push(_checked(_Push, data))
        case "ping":
            return _as_ping(_checked(_Ping, data))
        case _:
            return Other(_subject(_checked(_Other, data).repository))


def _decode(content_type: str, body: bytes) -> object:
    try:
        return strict_json(_form_payload(body) if content_type == FORM else body)
    except ValueError as exc:
        raise PayloadError(f"the payload cannot be read: {exc}") from None


def _form_payload(body: bytes) -> bytes:
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("the form is not ASCII") from None
    fields = parse_qs(text, max_num_fields=10, encoding="utf-8", errors="strict")
    found = fields.get("payload", [])
    if len(found) != 1:
        raise ValueError("the form has no field `payload`, or several")
    return found[0].encode()


Checked = TypeVar("Checked", bound=_Model)


def _checked(model: type[Checked], data: Any) -> Checked:  # noqa: ANN401
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        error = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, error["loc"])) or "the payload"
        message = error["msg"].removeprefix("Value error, ")
        raise PayloadError(f"{where}: {message}") from None


def _as_push(push: _Push) -> Push:
    head = push.head_commit
    author = head.author if head else None
    # An annotated tag's `after` is the tag object; the head commit is always a commit.
    commit = head.id if head else push.after
    is_gone = push.deleted or set(commit) == {"0"}
    sender = push.sender.login if push.sender else None
    pusher = push.pusher.name if push.pusher else None
    return Push(
        github_id=push.repository.id,
        full_name=push.repository.full_name,
        ref=push.ref,
        before=push.before,
        commit_sha="" if is_gone else commit,
        deleted=push.deleted,
        message=head.message if head else "",
        author=(author.name or author.username or "") if author else "",
        sender=sender or pusher or "unknown",
        pushed_at=push.repository.pushed_at,
        paths=_touched(push),
    )


def _touched(push: _Push) -> frozenset[str] | None:
    """Give every path the push touched, or None when its list of commits does not tell.

    A new or a forced branch differs from what was there before by more than its listed commits.
    """
    lists = [commit.paths for commit in push.commits]
    is_cut = len(lists) >= MOST_COMMITS or any(len(paths) >= MOST_FILES for paths in lists)
    if push.created or push.forced or is_cut or not lists:
        return None
    return frozenset(path for paths in lists for path in paths)


def _as_ping(ping: _Ping) -> Ping:
    warnings = []
    hook = ping.hook or _Hook(events=["push"])
    if not {"push", "*"} & set(hook.events):
        warnings.append("the hook does not send pushes; tick the event `push`")
    if str(hook.config.insecure_ssl) != "0":
        warnings.append("the hook does not verify certificates; switch SSL verification on")
    return Ping(_subject(ping.repository), "; ".join(warnings))


def _subject(repository: _Repository | None) -> Subject | None:
    return Subject(repository.id, repository.full_name) if repository else None
