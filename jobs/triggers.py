"""Which apps a push deploys, and in which order pushes were made. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from jobs.globs import any_matches, matches

BRANCH_PREFIX = "refs/heads/"
TAG_PREFIX = "refs/tags/"
# GitHub waits 10 s for an answer: a push of more paths is taken to touch everything.
MOST_LOOKS = 20_000
DEFAULT_SKIP_PHRASES = ("[skip ci]", "[ci skip]", "[no ci]", "[skip deploy]")


@dataclass(frozen=True)
class Push:
    """What a verified `push` delivery says, bounded and typed.

    `commit_sha` is the head commit's own id: `after` may name a tag object instead.
    """

    github_id: int
    full_name: str
    ref: str
    before: str
    commit_sha: str  # empty when the ref was deleted
    deleted: bool
    message: str
    author: str
    sender: str
    pushed_at: int | None  # seconds; GitHub's clock
    paths: frozenset[str] | None = None  # what it touched; None: the payload cannot tell


@dataclass(frozen=True)
class Rule:
    """What an app asks of a push before it is deployed."""

    app: str
    branch: str
    auto_deploy: bool
    skip_phrases: Sequence[str] = DEFAULT_SKIP_PHRASES
    watch_paths: Sequence[str] = ()
    tag_pattern: str | None = None


@dataclass(frozen=True)
class Deploy:
    """The push deploys the app."""


@dataclass(frozen=True)
class Ignored:
    """The push does not deploy the app, and why."""

    reason: str


def decide(push: Push, rule: Rule) -> Deploy | Ignored:
    """Decide whether a push deploys an app."""
    if other := _other_ref(push.ref, rule):
        return Ignored(other)
    if push.deleted or not push.commit_sha:
        return Ignored(f"{short_ref(push.ref)} was deleted")
    if not rule.auto_deploy:
        return Ignored(f"auto-deploy of {rule.app} is paused")
    if phrase := _skip_phrase(push.message, rule.skip_phrases):
        return Ignored(f"the commit message says {phrase}")
    if _touches_nothing(push, rule):
        return Ignored(f"it touched nothing that {rule.app} watches")
    return Deploy()


def _touches_nothing(push: Push, rule: Rule) -> bool:
    if not rule.watch_paths or push.paths is None:
        return False
    if len(rule.watch_paths) * len(push.paths) > MOST_LOOKS:
        return False
    return not any_matches(rule.watch_paths, push.paths)


def _other_ref(ref: str, rule: Rule) -> str:
    """Say why a ref is not one the app deploys; empty when it is."""
    if ref.startswith(TAG_PREFIX):
        if rule.tag_pattern is None:
            return f"{rule.app} does not deploy tags"
        if not matches(rule.tag_pattern, ref.removeprefix(TAG_PREFIX)):
            return f"{rule.app} deploys tags like {rule.tag_pattern}, not {short_ref(ref)}"
        return ""
    if ref != f"{BRANCH_PREFIX}{rule.branch}":
        return f"{rule.app} deploys {rule.branch}, not {short_ref(ref)}"
    return ""


def _skip_phrase(message: str, phrases: Sequence[str]) -> str | None:
    lowered = message.lower()
    return next((phrase for phrase in phrases if phrase.lower() in lowered), None)


# Control characters but tab and line feed, what nobody sees, and marks that turn the direction of
# what follows: they fool whoever reads.
TRICKS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def short_ref(ref: str) -> str:
    """Give a ref the way people write it: `main`, `tag v1`; what would fool them is replaced."""
    shown = TRICKS.sub("\ufffd", ref)
    if shown.startswith(TAG_PREFIX):
        return f"tag {shown.removeprefix(TAG_PREFIX)}"
    return shown.removeprefix(BRANCH_PREFIX)


SHA_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_sha(text: str) -> bool:
    """Whether the text is a whole object id, of SHA-1 or SHA-256."""
    return SHA_PATTERN.fullmatch(text) is not None


class Order(Enum):
    """How one push stands to another of the same branch."""

    OLDER = "older"
    NEWER = "newer"
    UNKNOWN = "unknown"


def compare(pushed_at: int | None, other: int | None) -> Order:
    """Tell whether a push was made before or after another of the same branch.

    GitHub's clock decides. Inside one of its seconds the branch itself must be asked: that a push
    found the commit which the other left proves nothing, as a branch may go back to where it was.

    Args:
        pushed_at: when the push was made, in seconds since 1970; None is unknown.
        other: when the other one was.
    """
    if pushed_at is None or other is None or pushed_at == other:
        return Order.UNKNOWN
    return Order.OLDER if pushed_at < other else Order.NEWER
