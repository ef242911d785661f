"""Translates git's error messages into Keystone's errors. Pure.

Git exits with status 128 for every failure, so its messages (in English because of `LC_ALL=C`) are
the only way to distinguish failures. This table contains them all, the more specific ones first.
"""

import re
from dataclasses import dataclass

from jobs.errors import (
    CheckoutError,
    DeploymentError,
    GitError,
    PlatformError,
    RepositoryDeniedError,
)
from jobs.rules.text import several_lines

SHOWN_COMPLAINT = 300


@dataclass(frozen=True)
class Attempt:
    """What was requested from which repository, in words."""

    repository: str  # "octo/web"
    wanted: str  # "the branch main"
    missing: str  # "the branch main does not exist in octo/web"
    has_token: bool


@dataclass(frozen=True)
class _Meaning:
    pattern: re.Pattern[str]
    sentence: str
    without_token: str = ""
    is_denied: bool = False


def _means(pattern: str, sentence: str, without_token: str = "") -> _Meaning:
    # Only failures that depend on the token have two sentences.
    return _Meaning(
        re.compile(pattern, re.IGNORECASE),
        sentence,
        without_token or sentence,
        is_denied=bool(without_token),
    )


_MEANINGS = (
    _means(
        r"could not read (username|password)|authentication failed|returned error: 40[13]\b",
        "the repository refused the token of {repository}: it is wrong or expired, or may not "
        "read the contents",
        "{repository} asks for a token and none is set; set the repository's token",
    ),
    _means(
        r"repository '.*' not found|returned error: (404|410)\b|does not appear to be a git repo"
        r"|repository '.*' does not exist",
        "the repository {repository} was not found, or the token may not see it",
        "the repository {repository} was not found; a private one needs a token",
    ),
    _means(
        r"returned error: 30\d\b|unable to update url base from redirection",
        "the repository {repository} has moved; set its new URL",
    ),
    _means(r"couldn't find remote ref|not our ref|unadvertised object", "{missing}"),
    _means(r"transport '.*' not allowed", "the repository's git URL has a scheme not allowed here"),
    _means(
        r"fsck error",
        "git refused {wanted} of {repository} as unsafe or damaged: {complaint}",
    ),
)


def explain(complaint: str, attempt: Attempt) -> DeploymentError | PlatformError:
    """Give the error for a failed git command.

    Args:
        complaint: git's standard error, with secrets already masked.
    """
    for meaning in _MEANINGS:
        if meaning.pattern.search(complaint):
            return _refusal(meaning, complaint, attempt)
    asked = f"{attempt.wanted} of {attempt.repository}"
    return GitError(f"git could not fetch {asked}: {shown(complaint)}")


def _refusal(meaning: _Meaning, complaint: str, attempt: Attempt) -> CheckoutError:
    sentence = meaning.sentence if attempt.has_token else meaning.without_token
    told = sentence.format(
        repository=attempt.repository,
        wanted=attempt.wanted,
        missing=attempt.missing,
        complaint=shown(complaint),
    )
    if not meaning.is_denied:
        return CheckoutError(told)
    words = remote_words(complaint)
    return RepositoryDeniedError(f'{told} ("{words}")' if words else told)


def remote_words(complaint: str) -> str:
    """Give the server's own message on one line; empty when there is none."""
    lines = (line.strip() for line in several_lines(complaint).split("\n"))
    said = (line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:"))
    return " ".join(words for words in said if words)[:SHOWN_COMPLAINT]


def shown(complaint: str) -> str:
    """Give the most informative line of git's message, truncated and printable."""
    lines = [line for line in several_lines(complaint).split("\n") if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    first = telling[0] if telling else "it said nothing"
    return first.removeprefix("fatal: ").removeprefix("error: ")[:SHOWN_COMPLAINT]
