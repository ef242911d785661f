"""GitHub's API through PyGithub (implements `Forge`); the only import of `github`.

PyGithub sends the requests and knows the authentication; what the answers mean is decided here, by
status code. Its object layer is not used: it takes a redirected write, and a success page of some
proxy, for a posted status (PyGithub 2.10).
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests
from github import Auth, Github, GithubException
from pydantic import SecretStr
from urllib3 import Retry

from jobs.adapters.ports import ForgeRepository, StatusPost
from jobs.errors import GitHubError

TOTAL_TIMEOUT_S = 25.0
DEFAULT_WAIT_S = 60.0
LONGEST_WAIT_S = 24 * 3600.0
SHOWN_MESSAGE = 200
# How GitHub answers a write to a repository that was renamed; it sends 307.
REDIRECTS = {301, 302, 307, 308}


@dataclass(frozen=True)
class Answer:
    """One answer of the API, read with distrust."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]  # empty when it is not a JSON object

    @property
    def message(self) -> str:
        """What GitHub says went wrong, on one line."""
        errors = self.body.get("errors")
        parts = [self.body, *(errors if isinstance(errors, list) else [])]
        words = [part.get("message") if isinstance(part, dict) else part for part in parts]
        text = "; ".join(" ".join(word.split()) for word in words if isinstance(word, str))
        return "".join(filter(str.isprintable, text))[:SHOWN_MESSAGE]


class GitHubForge:
    """Implements `Forge`.

    Args:
        api_url: GitHub's API, without a slash at its end.
        timeout_s: how long one request may stay silent; a request is repeated once.
        total_timeout_s: how long one post may take in all.
    """

    def __init__(
        self, api_url: str, *, timeout_s: int = 5, total_timeout_s: float = TOTAL_TIMEOUT_S
    ) -> None:
        self._api_url = api_url
        self._timeout_s = timeout_s
        self._total_timeout_s = total_timeout_s

    def post_status(self, post: StatusPost, token: SecretStr) -> None:
        """Post a commit status with one request, and make sure GitHub took it."""
        _check_token(token)
        with closing(self._client(token)) as client:
            _within(self._total_timeout_s, lambda: _post(client, post))

    def _client(self, token: SecretStr) -> Github:
        # Limits are not slept out here but handed to the outbox, which tries again later.
        retry = Retry(
            total=1,
            allowed_methods=None,
            status_forcelist=[500, 502, 503, 504],
            backoff_factor=0.2,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        return Github(
            auth=Auth.Token(token.get_secret_value()),
            base_url=self._api_url,
            lazy=True,
            timeout=self._timeout_s,
            retry=retry,
            user_agent="keystone",
            seconds_between_requests=None,
            seconds_between_writes=None,
        )


def _post(client: Github, post: StatusPost) -> None:
    answer = _send(client, "POST", _address(post.repository, post.sha), _body(post))
    if answer.status in REDIRECTS and post.repository.github_id is None:
        renamed = _resolve(client, post.repository)
        answer = _send(client, "POST", _address(renamed, post.sha), _body(post))
    _ensure_taken(answer, post)


def _address(repository: ForgeRepository, sha: str) -> str:
    return f"{_repository_address(repository)}/statuses/{quote(sha, safe='')}"


def _repository_address(repository: ForgeRepository) -> str:
    if repository.github_id is not None:
        return f"/repositories/{repository.github_id}"
    owner, _, name = repository.full_name.partition("/")
    return f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"


def _body(post: StatusPost) -> dict[str, str]:
    return {
        "state": post.state,
        "description": post.description,
        "context": post.context,
        "target_url": post.target_url,
    }


def _resolve(client: Github, repository: ForgeRepository) -> ForgeRepository:
    """Ask for the id of a repository that was renamed; reading follows the redirect."""
    answer = _send(client, "GET", _repository_address(repository))
    _ensure_accepted(answer, repository)
    found = answer.body.get("id")
    if not isinstance(found, int):
        raise _nonsense(answer)
    return ForgeRepository(repository.full_name, github_id=found)


def _send(client: Github, verb: str, address: str, body: dict[str, str] | None = None) -> Answer:
    try:
        status, headers, text = client.requester.requestJson(verb, address, input=body)
    except requests.Timeout as exc:
        raise GitHubError("GitHub's API did not answer in time") from exc
    except requests.RequestException as exc:
        raise GitHubError(f"GitHub's API could not be reached ({type(exc).__name__})") from exc
    except (GithubException, AssertionError, RuntimeError, ValueError) as exc:
        # PyGithub's ways to refuse redirects to other hosts and headers it cannot read.
        raise GitHubError(f"GitHub's API gave an unusable answer ({type(exc).__name__})") from exc
    return Answer(status, headers, _json_object(text))


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _ensure_taken(answer: Answer, post: StatusPost) -> None:
    _ensure_accepted(answer, post.repository)
    if answer.status != HTTPStatus.CREATED or answer.body.get("state") != post.state:
        raise _nonsense(answer)


def _ensure_accepted(answer: Answer, repository: ForgeRepository) -> None:
    """Raise the error that an answer stands for, unless it is a success."""
    match answer.status:
        case 401:
            raise GitHubError("GitHub says the token is expired or wrong", permanent=True)
        case 403 | 429 if _is_limit(answer):
            raise GitHubError(
                f"GitHub asks for a pause: {answer.message}", retry_after_s=_wait_s(answer)
            )
        case 403:
            raise GitHubError(_forbidden(answer), permanent=True)
        case 404:
            raise GitHubError(
                f"{repository.full_name} does not exist or the token may not see it",
                permanent=True,
            )
        case status if 400 <= status < 500:  # noqa: PLR2004
            raise GitHubError(f"GitHub refused the status: {answer.message}", permanent=True)
        case status if status >= 500:  # noqa: PLR2004
            raise GitHubError(
                f"GitHub's API failed with status {status}", retry_after_s=_asked_wait_s(answer)
            )


def _is_limit(answer: Answer) -> bool:
    return (
        answer.status == HTTPStatus.TOO_MANY_REQUESTS
        or "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in answer.message.lower()
    )


def _wait_s(answer: Answer) -> float:
    """Give the seconds to wait before the next try, from what GitHub said or else a minute."""
    asked = _asked_wait_s(answer)
    if asked is not None:
        return asked
    reset = answer.headers.get("x-ratelimit-reset", "")
    # GitHub gives the moment in whole seconds; one more makes sure it has passed.
    wait = int(reset) + 1 - time.time() if _is_number(reset) else DEFAULT_WAIT_S
    return min(max(wait, 1.0), LONGEST_WAIT_S)


def _asked_wait_s(answer: Answer) -> float | None:
    asked = answer.headers.get("retry-after", "")
    return min(max(float(asked), 1.0), LONGEST_WAIT_S) if _is_number(asked) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12  # noqa: PLR2004


def _forbidden(answer: Answer) -> str:
    needed = answer.headers.get("x-accepted-github-permissions", "")
    if needed:
        return f"the token lacks a permission; GitHub wants {needed[:SHOWN_MESSAGE]}"
    return f"GitHub forbids it: {answer.message}"


def _nonsense(answer: Answer) -> GitHubError:
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return GitHubError(
            f"GitHub's API redirected the request (status {answer.status}); "
            "check KEYSTONE_GITHUB_API_URL"
        )
    return GitHubError(
        f"what answered with status {answer.status} was not GitHub's API; "
        "check KEYSTONE_GITHUB_API_URL and the proxies on the way"
    )


def _check_token(token: SecretStr) -> None:
    """Refuse what cannot stand in a header; the HTTP library would quote it in its complaint."""
    value = token.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise GitHubError("the token is empty or has characters no token has", permanent=True)


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Wait for the call that long; a socket's time-out does not bound an answer that trickles."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="github")
    try:
        pool.submit(call).result(timeout=seconds)
    except TimeoutError as exc:
        raise GitHubError(f"GitHub's API did not answer within {seconds:g} s") from exc
    finally:
        pool.shutdown(wait=False)
