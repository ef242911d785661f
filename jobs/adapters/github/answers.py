"""Parses the untrusted answers of GitHub's API, and maps refusals to errors. Pure.

Status and headers distinguish the refusals; GitHub's own message is only quoted, on one line and
truncated.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from jobs.errors import (
    GitHubContentError,
    GitHubDeniedError,
    GitHubError,
    GitHubNotFoundError,
    GitHubTokenError,
)
from jobs.rules.repository_values import ForgeRepository
from jobs.rules.text import first_words, one_line

DEFAULT_WAIT_S = 60.0
LONGEST_WAIT_S = 24 * 3600.0
SHOWN_MESSAGE = 200
# When fewer requests than this are left, reading stops: they are reserved for commit statuses.
KEPT_REQUESTS = 100


@dataclass(frozen=True)
class Answer:
    """One untrusted answer of the API."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]  # empty when it is not a JSON object
    items: list[Any] | None = None  # None when it is not a JSON list

    @property
    def message(self) -> str:
        """GitHub's error message, on one line."""
        errors = self.body.get("errors")
        parts = [self.body, *(errors if isinstance(errors, list) else [])]
        words = [part.get("message") if isinstance(part, dict) else part for part in parts]
        text = one_line("; ".join(word for word in words if isinstance(word, str)))
        return first_words(text, SHOWN_MESSAGE)


def read_answer(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """Parse an answer."""
    found = _json(text)
    return Answer(
        status,
        headers,
        found if isinstance(found, dict) else {},
        found if isinstance(found, list) else None,
    )


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def ensure_accepted(answer: Answer, repository: ForgeRepository, what: str = "the status") -> None:
    """Raise the error for an answer, unless it is a success."""
    match answer.status:
        case 401:
            sentence = "GitHub says the token is expired or wrong"
            raise GitHubTokenError(_quoting(answer, sentence), permanent=True)
        case 403 | 429 if _is_limit(answer):
            raise GitHubError(
                f"GitHub asks for a pause: {answer.message}", retry_after_s=_wait_s(answer)
            )
        case 403:
            raise GitHubDeniedError(_forbidden(answer), permanent=True)
        case 404:
            raise GitHubNotFoundError(_missing(answer, repository), permanent=True)
        case 422:
            raise GitHubContentError(f"GitHub refused {what}: {answer.message}", permanent=True)
        case status if 400 <= status < 500:  # noqa: PLR2004
            raise GitHubError(f"GitHub refused {what}: {answer.message}", permanent=True)
        case status if status >= 500:  # noqa: PLR2004
            raise GitHubError(
                f"GitHub's API failed with status {status}", retry_after_s=_asked_wait_s(answer)
            )


def ensure_spare(answer: Answer) -> None:
    """Raise when the token has so few requests left that reading has to wait."""
    left = answer.headers.get("x-ratelimit-remaining", "")
    if _is_number(left) and int(left) < KEPT_REQUESTS:
        raise GitHubError(
            f"only {left} requests are left for this token; they are kept for commit statuses",
            retry_after_s=_wait_s(answer),
        )


def _is_limit(answer: Answer) -> bool:
    return (
        answer.status == HTTPStatus.TOO_MANY_REQUESTS
        or "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in answer.message.lower()
    )


def _wait_s(answer: Answer) -> float:
    """Give the seconds to wait before the next attempt: as GitHub says, or else a minute."""
    asked = _asked_wait_s(answer)
    if asked is not None:
        return asked
    reset = answer.headers.get("x-ratelimit-reset", "")
    # GitHub gives the reset time in whole seconds; add one second so that it has passed.
    wait = int(reset) + 1 - time.time() if _is_number(reset) else DEFAULT_WAIT_S
    return min(max(wait, 1.0), LONGEST_WAIT_S)


def _asked_wait_s(answer: Answer) -> float | None:
    asked = answer.headers.get("retry-after", "")
    return min(max(float(asked), 1.0), LONGEST_WAIT_S) if _is_number(asked) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12  # noqa: PLR2004


def _forbidden(answer: Answer) -> str:
    needed = one_line(answer.headers.get("x-accepted-github-permissions", ""))
    if needed:
        wanted = first_words(needed, SHOWN_MESSAGE)
        sentence = f"the token lacks a permission; GitHub wants {wanted}"
        return _quoting(answer, sentence)
    return f"GitHub forbids it: {answer.message}"


def _quoting(answer: Answer, sentence: str) -> str:
    return f'{sentence} ("{answer.message}")' if answer.message else sentence


def _missing(answer: Answer, repository: ForgeRepository) -> str:
    """Explain a 404: GitHub does not distinguish missing repositories from hidden ones."""
    sentence = f"{repository.full_name} does not exist or the token may not see it"
    # Only for classic tokens GitHub names the accepted scopes and the token's scopes.
    wanted = one_line(answer.headers.get("x-accepted-oauth-scopes", ""))
    if not wanted:
        return sentence
    had = one_line(answer.headers.get("x-oauth-scopes", "")) or "none"
    told = f"{sentence}; GitHub wants a scope of {wanted}, it has {had}"
    return first_words(told, 2 * SHOWN_MESSAGE)


def token_expiry(answer: Answer) -> datetime | None:
    """Give the token's expiry time, which GitHub sends with every answer if the token expires.

    Source: https://docs.github.com/en/rest/authentication (read 2026-11-23); the time has been seen
    with "UTC" and with an offset at its end.
    """
    told = answer.headers.get("github-authentication-token-expiration", "").strip()
    try:
        found = datetime.fromisoformat(told.removesuffix("UTC").strip())
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def nonsense(answer: Answer) -> GitHubError:
    """Give the error for an answer that cannot be from GitHub's API."""
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return GitHubError(
            f"GitHub's API redirected the request (status {answer.status}); "
            "check KEYSTONE_GITHUB_API_URL"
        )
    return GitHubError(
        f"what answered with status {answer.status} was not GitHub's API; "
        "check KEYSTONE_GITHUB_API_URL and the proxies on the way"
    )
