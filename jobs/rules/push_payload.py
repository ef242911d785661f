"""Parses the JSON of GitHub's `push` event into a `Push`, or says what is wrong with it. Pure.

GitHub sends the JSON to the webhook, and returns it again when asked for a failed delivery. Only
the few fields that Keystone needs are read, each typed and bounded; unknown fields are ignored.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
)

from jobs.rules.mistakes import mistakes_of
from jobs.rules.refs import is_sha
from jobs.rules.text import several_lines, shown_name
from jobs.rules.triggers import Push, bounded_paths

LARGEST_ID = 2**63 - 1
LATEST_SECOND = 2**40
LONGEST_MESSAGE = 2000
LONGEST_NAME = 200
# A repository's full name, as a regular expression for `fullmatch`.
FULL_NAME = r"[A-Za-z0-9._-]{1,99}/[A-Za-z0-9._-]{1,100}"
# GitHub's limits for its lists: a push that reaches either may have touched any path.
MOST_COMMITS = 2048
MOST_FILES = 3000


def _text(limit: int, shown: Callable[[str], str]) -> BeforeValidator:
    """Cut text, and make it safe to store and to show."""
    return BeforeValidator(lambda value: shown(value[:limit]) if isinstance(value, str) else value)


def _sha(value: str) -> str:
    if not is_sha(value):
        raise ValueError("is not a whole commit id")
    return value


def _seconds(value: object) -> object:
    # A number in push events, an ISO 8601 time in all others.
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


Message = Annotated[str, _text(LONGEST_MESSAGE, several_lines)]
Name = Annotated[str, _text(LONGEST_NAME, shown_name)]
Sha = Annotated[str, AfterValidator(_sha)]
FullName = Annotated[str, StringConstraints(pattern=f"^{FULL_NAME}$")]
# No control characters and no spaces: a little more than git allows in a ref.
Ref = Annotated[str, StringConstraints(pattern=r"^refs/[^\x00-\x20\x7f]{1,494}$")]
Seconds = Annotated[Annotated[int, Field(ge=0, le=LATEST_SECOND)] | None, BeforeValidator(_seconds)]


class Payload(BaseModel):
    """The fields of a payload that Keystone reads."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class RepositoryPart(Payload):
    """The part of every payload that names the repository."""

    id: int = Field(ge=1, le=LARGEST_ID)
    full_name: FullName
    pushed_at: Seconds = None


class _Author(Payload):
    name: Name | None = None
    username: Name | None = None


class _Commit(Payload):
    id: Sha
    message: Message = ""
    author: _Author | None = None


def _first(most: int) -> BeforeValidator:
    """Read only the first items of a list: each costs some µs, and a body may hold a million."""

    def cut(value: object) -> object:
        return value[:most] if isinstance(value, list) else value

    return BeforeValidator(cut)


# Fail at the first wrong item, so that a million mistakes are not described.
Paths = Annotated[list[str], FailFast(), _first(MOST_FILES)]


class _Listed(Payload):
    """A commit of the list, with only the paths that it touched."""

    added: Paths = []
    removed: Paths = []
    modified: Paths = []

    @property
    def paths(self) -> list[str]:
        return [*self.added, *self.removed, *self.modified]


class _Account(Payload):
    login: Name | None = None
    name: Name | None = None


class _Push(Payload):
    ref: Ref
    before: Sha
    after: Sha
    deleted: bool
    head_commit: _Commit | None
    repository: RepositoryPart
    created: bool = False
    forced: bool = False
    commits: Annotated[list[_Listed], FailFast(), _first(MOST_COMMITS)] = []
    sender: _Account | None = None
    pusher: _Account | None = None


Checked = TypeVar("Checked", bound=Payload)


def checked(model: type[Checked], data: object) -> Checked:
    """Read the parts of a payload that a model names.

    Raises:
        ValueError: a part is not as GitHub sends it; the message does not quote its value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        first = mistakes_of(exc, words={})[0]
        told = first if first.is_of_field else replace(first, field="the payload")
        raise ValueError(str(told)) from None


def read_push(data: object) -> Push:
    """Read the payload of a push.

    Raises:
        ValueError: the data is not a push payload.

    Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads (read 2026-11-23).
    """
    push = checked(_Push, data)
    head = push.head_commit
    author = head.author if head else None
    # For an annotated tag, `after` is the tag object; `head_commit` is always a commit.
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
    """Give every path that the push touched; None if its list of commits does not show that.

    A new or force-pushed branch differs from its former state by more than the listed commits.
    """
    lists = [commit.paths for commit in push.commits]
    is_cut = len(lists) >= MOST_COMMITS or any(len(paths) >= MOST_FILES for paths in lists)
    if push.created or push.forced or is_cut or not lists:
        return None
    return bounded_paths(path for paths in lists for path in paths)
