"""Commits, repositories and webhooks as the adapters of git and GitHub give them. Pure."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from jobs.states import GitHubState


@dataclass(frozen=True)
class Remote:
    """Where a repository is fetched from, and the token that opens it."""

    repository_id: int  # names the mirror on disk
    url: str
    token: SecretStr | None = None


@dataclass(frozen=True)
class Commit:
    """A commit as it stands in the repository."""

    sha: str
    message: str
    author: str


@dataclass(frozen=True)
class TreeEntry:
    """One file of a commit's tree; git knows no empty folders."""

    path: str  # relative to the tree's root, with slashes
    mode: int  # 0o100644, 0o100755 or 0o120000 (a symbolic link)
    size: int  # bytes; of a link, the length of its target
    blob: str  # git's object id: the same id means the same content
    changed_ns: int = 0  # when it changed last, in nanoseconds since 1970


@dataclass(frozen=True)
class ForgeRepository:
    """A repository as GitHub's API addresses it: by id once that is known."""

    full_name: str
    github_id: int | None = None


@dataclass(frozen=True)
class KnownRepository:
    """A repository as GitHub itself describes it."""

    github_id: int
    full_name: str


@dataclass(frozen=True)
class StatusPost:
    """One commit status to be posted."""

    repository: ForgeRepository
    sha: str
    state: GitHubState
    description: str
    context: str
    target_url: str


@dataclass(frozen=True)
class Hook:
    """A webhook of a repository."""

    id: int
    url: str  # where it sends its deliveries


@dataclass(frozen=True)
class HookDelivery:
    """One attempt of GitHub's to deliver an event to a webhook."""

    id: int  # of the attempt; a redelivery has another
    guid: str  # of the event; a redelivery has the same
    event: str
    at: datetime  # aware, UTC
    status_code: int  # what was answered; 0: nothing
    status: str  # in GitHub's words: "OK", "failed to connect"


@dataclass(frozen=True)
class HookDeliveries:
    """What a webhook has delivered or tried to, newest first."""

    items: tuple[HookDelivery, ...]
    is_cut: bool = False  # there is more than Keystone reads at once


@dataclass(frozen=True)
class HookWish:
    """What a repository's webhook is to be like: JSON, the push event, signed."""

    url: str
    secret: SecretStr


@dataclass(frozen=True)
class InstalledHook:
    """A webhook that is as it was wished for."""

    id: int
    is_new: bool  # false: it was there, and was changed
