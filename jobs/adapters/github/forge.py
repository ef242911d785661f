"""GitHub's API through PyGithub (implements `Forge`); the only import of `github`.

PyGithub sends the requests and handles authentication; this module interprets the answers by status
code. It does not use PyGithub's object layer, which mistakes a redirected write, or a success page
of a proxy, for a posted status (PyGithub 2.10).
"""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from github import Auth, Github, GithubException
from pydantic import SecretStr
from urllib3 import Retry

from jobs.adapters.github.answers import (
    Answer,
    ensure_accepted,
    ensure_spare,
    nonsense,
    read_answer,
    token_expiry,
)
from jobs.adapters.github.hooks import (
    PAGE,
    is_same_address,
    next_cursor,
    read_delivery,
    read_hook,
    write_hook,
)
from jobs.errors import GitHubError
from jobs.rules.push_payload import FULL_NAME, LARGEST_ID
from jobs.rules.redaction import Redactor
from jobs.rules.repository_values import (
    ForgeRepository,
    Hook,
    HookDeliveries,
    HookDelivery,
    HookWish,
    InstalledHook,
    KnownRepository,
    StatusPost,
)

TOTAL_TIMEOUT_S = 25.0
MOST_PAGES = 10
# Status codes for a write to a renamed repository; GitHub sends 307.
REDIRECTS = {301, 302, 307, 308}

Found = TypeVar("Found")


class GitHubForge:
    """Implements `Forge`.

    Args:
        api_url: the URL of GitHub's API, without a trailing slash.
        timeout_s: how long to wait for data of one request; a request is retried once.
        total_timeout_s: the deadline of one call, including all its requests.
    """

    def __init__(
        self, api_url: str, *, timeout_s: int = 5, total_timeout_s: float = TOTAL_TIMEOUT_S
    ) -> None:
        self._api_url = api_url
        self._timeout_s = timeout_s
        self._total_timeout_s = total_timeout_s

    def post_status(self, post: StatusPost, token: SecretStr) -> datetime | None:
        """Post a commit status with one request, and check that GitHub accepted it."""
        return self._within(token, lambda client: _post(client, post))

    def identify(self, repository: ForgeRepository, token: SecretStr | None) -> KnownRepository:
        """Look up a repository by its id or else by its name, which may be a former name."""
        return self._within(token, lambda client: _identify(client, repository, token))

    def hook_at(self, repository: ForgeRepository, url: str, token: SecretStr) -> Hook | None:
        """Find the repository's webhook that sends to a URL; None when there is none."""
        return self._within(token, lambda client: _find_hook(client, repository, url))

    def deliveries(
        self, repository: ForgeRepository, hook: Hook, token: SecretStr, *, since: datetime
    ) -> HookDeliveries:
        """List a webhook's deliveries and attempts since then, newest first, up to a maximum."""
        return self._within(token, lambda client: _list_since(client, repository, hook, since))

    def payload(
        self, repository: ForgeRepository, hook: Hook, delivery: HookDelivery, token: SecretStr
    ) -> object:
        """Give the JSON payload of a delivery, even if the delivery failed."""
        path = f"/hooks/{hook.id}/deliveries/{delivery.id}"
        return self._within(token, lambda client: _sent(_read(client, repository, path)))

    def install_hook(
        self, repository: ForgeRepository, wish: HookWish, token: SecretStr
    ) -> InstalledHook:
        """Ensure exactly one webhook for the wish's URL: create it, or change the existing one."""
        return self._within(token, lambda client: _install(client, repository, wish))

    def _within(self, token: SecretStr | None, call: Callable[[Github], Found]) -> Found:
        if token is not None:
            _check_token(token)
        with closing(self._client(token)) as client:
            try:
                return _within(self._total_timeout_s, lambda: call(client))
            except GitHubError as exc:
                # The error quotes GitHub's message, and the server might echo the token in it.
                exc.args = (Redactor([token] if token else [])(str(exc)),)
                raise

    def _client(self, token: SecretStr | None) -> Github:
        # Do not wait for rate limits here: the outbox retries later.
        retry = Retry(
            total=1,
            allowed_methods=None,
            status_forcelist=[500, 502, 503, 504],
            backoff_factor=0.2,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        return Github(
            auth=Auth.Token(token.get_secret_value()) if token else None,
            base_url=self._api_url,
            lazy=True,
            timeout=self._timeout_s,
            retry=retry,
            user_agent="keystone",
            seconds_between_requests=None,
            seconds_between_writes=None,
        )


# --- Commit statuses -------------------------------------------------------------------------


def _post(client: Github, post: StatusPost) -> datetime | None:
    path = f"/statuses/{quote(post.sha, safe='')}"
    answer = _ask(client, "POST", post.repository, path, body=_body(post))
    _ensure_taken(answer, post)
    return token_expiry(answer)


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


def _ensure_taken(answer: Answer, post: StatusPost) -> None:
    ensure_accepted(answer, post.repository)
    if answer.status != HTTPStatus.CREATED or answer.body.get("state") != post.state:
        raise nonsense(answer)


# --- Identity --------------------------------------------------------------------------------


def _identify(
    client: Github, repository: ForgeRepository, token: SecretStr | None
) -> KnownRepository:
    answer = _send(client, "GET", _repository_address(repository))
    known = _known(answer, repository)
    if repository.github_id not in {None, known.github_id}:
        raise nonsense(answer)
    if token is not None:  # requests without a token need not leave any for commit statuses
        ensure_spare(answer)
    return known


def _known(answer: Answer, repository: ForgeRepository) -> KnownRepository:
    """Read GitHub's description of a repository; a renamed one's redirect was followed already."""
    ensure_accepted(answer, repository, "the question")
    github_id, full_name = answer.body.get("id"), answer.body.get("full_name")
    if (
        answer.status != HTTPStatus.OK
        or type(github_id) is not int
        or not isinstance(full_name, str)
    ):
        raise nonsense(answer)
    if not 0 < github_id <= LARGEST_ID or not re.fullmatch(FULL_NAME, full_name):
        raise nonsense(answer)
    return KnownRepository(github_id, full_name)


# --- Webhooks --------------------------------------------------------------------------------


def _find_hook(client: Github, repository: ForgeRepository, url: str) -> Hook | None:
    answer = _read(client, repository, "/hooks", per_page=PAGE)
    hooks = (read_hook(item) for item in _listed(answer) if isinstance(item, dict))
    return next((hook for hook in hooks if hook and is_same_address(hook.url, url)), None)


def _list_since(
    client: Github, repository: ForgeRepository, hook: Hook, since: datetime
) -> HookDeliveries:
    items: list[HookDelivery] = []
    page: dict[str, Any] = {"per_page": PAGE}
    for _ in range(MOST_PAGES):
        answer = _read(client, repository, f"/hooks/{hook.id}/deliveries", **page)
        found = [read_delivery(item) for item in _listed(answer) if isinstance(item, dict)]
        items += [item for item in found if item is not None and item.at >= since]
        cursor = next_cursor(answer.headers.get("link", ""))
        if cursor is None or any(item is not None and item.at < since for item in found):
            return HookDeliveries(tuple(items))
        page["cursor"] = cursor
    return HookDeliveries(tuple(items), is_cut=True)


def _sent(answer: Answer) -> object:
    request = answer.body.get("request")
    if not isinstance(request, dict):
        raise nonsense(answer)
    return request.get("payload")


def _install(client: Github, repository: ForgeRepository, wish: HookWish) -> InstalledHook:
    there = _find_hook(client, repository, wish.url)
    body = write_hook(wish)
    if there is None:
        answer = _ask(client, "POST", repository, "/hooks", body={"name": "web", **body})
    else:
        answer = _ask(client, "PATCH", repository, f"/hooks/{there.id}", body=body)
    ensure_accepted(answer, repository, "the webhook")
    made = read_hook(answer.body)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED} or made is None:
        raise nonsense(answer)
    return InstalledHook(made.id, is_new=there is None)


def _read(client: Github, repository: ForgeRepository, path: str, **parameters: object) -> Answer:
    """Read data that is not urgent, if the rate limit leaves enough requests."""
    answer = _ask(client, "GET", repository, path, parameters=parameters)
    ensure_accepted(answer, repository, "the question")
    if answer.status != HTTPStatus.OK:
        raise nonsense(answer)
    ensure_spare(answer)
    return answer


def _listed(answer: Answer) -> list[Any]:
    if answer.items is None:
        raise nonsense(answer)
    return answer.items


# --- Requests and answers --------------------------------------------------------------------


def _ask(
    client: Github,
    verb: str,
    repository: ForgeRepository,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Answer:
    """Send a request about a repository; if the repository was renamed, send it again by id."""
    answer = _send(client, verb, _repository_address(repository) + path, body, parameters)
    if answer.status in REDIRECTS and repository.github_id is None:
        known = _known(_send(client, "GET", _repository_address(repository)), repository)
        by_id = ForgeRepository(known.full_name, known.github_id)
        answer = _send(client, verb, _repository_address(by_id) + path, body, parameters)
    return answer


def _send(
    client: Github,
    verb: str,
    address: str,
    body: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Answer:
    try:
        status, headers, text = client.requester.requestJson(
            verb, address, parameters=dict(parameters or {}), input=body
        )
    except requests.Timeout as exc:
        raise GitHubError("GitHub's API did not answer in time") from exc
    except requests.RequestException as exc:
        raise GitHubError(f"GitHub's API could not be reached ({type(exc).__name__})") from exc
    except (GithubException, AssertionError, RuntimeError, ValueError) as exc:
        # PyGithub raises these for redirects to other hosts and for headers that it cannot parse.
        raise GitHubError(f"GitHub's API gave an unusable answer ({type(exc).__name__})") from exc
    return read_answer(status, headers, text)


def _check_token(token: SecretStr) -> None:
    """Refuse a token that is invalid in a header: the HTTP library's error would quote it."""
    value = token.get_secret_value()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise GitHubError("the token is empty or has characters no token has", permanent=True)


def _within(seconds: float, call: Callable[[], Found]) -> Found:
    """Run the call with a deadline; a socket's timeout does not limit a slow, trickling answer."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="github")
    try:
        return pool.submit(call).result(timeout=seconds)
    except TimeoutError as exc:
        raise GitHubError(f"GitHub's API did not answer within {seconds:g} s") from exc
    finally:
        pool.shutdown(wait=False)
