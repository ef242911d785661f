"""The values that the adapters of git and GitHub take and return. Pure."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr

from jobs.states import GitHubState


@dataclass(frozen=True)
class Remote:
    """The source to fetch a repository from, and the token for it."""

    repository_id: int  # names the mirror on disk
    url: str
    token: SecretStr | None = None


@dataclass(frozen=True)
class Commit:
    """A commit of a repository."""

    sha: str
    message: str
    author: str


@dataclass(frozen=True)
class TreeEntry:
    """One file of a commit's tree; git stores no empty folders."""

    path: str  # relative to the tree's root, with slashes
    mode: int  # 0o100644, 0o100755 or 0o120000 (a symbolic link)
    size: int  # bytes; of a link, the length of its target
    blob: str  # git's object id: the same id means the same content
    changed_ns: int = 0  # time of its last change, in nanoseconds since 1970


@dataclass(frozen=True)
class ForgeRepository:
    """A repository as addressed in GitHub's API: by its id once that is known, else by name."""

    full_name: str
    github_id: int | None = None


@dataclass(frozen=True)
class KnownRepository:
    """A repository as GitHub's API describes it."""

    github_id: int
    full_name: str


@dataclass(frozen=True)
class StatusPost:
    """One commit status to post."""

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
    """One attempt by GitHub to deliver an event to a webhook."""

    id: int  # of the attempt; a redelivery has another one
    guid: str  # of the event; a redelivery has the same one
    event: str
    at: datetime  # aware, UTC
    status_code: int  # of the response; 0 if there was none
    status: str  # in GitHub's words: "OK", "failed to connect"


@dataclass(frozen=True)
class HookDeliveries:
    """A webhook's attempted deliveries, newest first."""

    items: tuple[HookDelivery, ...]
    is_cut: bool = False  # there is more than Keystone reads at once


@dataclass(frozen=True)
class HookWish:
    """The desired state of a repository's webhook: JSON, push events only, signed."""

    url: str
    secret: SecretStr


@dataclass(frozen=True)
class InstalledHook:
    """A webhook in its desired state."""

    id: int
    is_new: bool  # false: it existed, and was updated
