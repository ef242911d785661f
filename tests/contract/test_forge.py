"""What every `Forge` promises, against GitHub's API over real HTTP."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.adapters.github.answers import Answer
from jobs.adapters.github.forge import GitHubForge
from jobs.adapters.ports import Forge
from jobs.errors import (
    GitHubContentError,
    GitHubDeniedError,
    GitHubError,
    GitHubTokenError,
)
from jobs.rules.repository_values import ForgeRepository, StatusPost
from jobs.rules.text import one_line
from jobs.states import GitHubState
from tests.githubapi import Fault, GitHubApi, PostedStatus, refusal

TOKEN = "ghp_ForgeContract0123456789"
SHA = "a" * 40
LONG_MESSAGE = "No commit found for SHA: " + SHA


@pytest.fixture(name="api")
def fixture_api() -> Iterator[GitHubApi]:
    with GitHubApi(token=TOKEN) as api:
        api.know("octo/web", 186853002)
        yield api


@pytest.fixture(name="forge")
def fixture_forge(api: GitHubApi) -> Forge:
    return GitHubForge(api.url, timeout_s=20)


def status_post(
    *, state: GitHubState = GitHubState.SUCCESS, github_id: int | None = None
) -> StatusPost:
    return StatusPost(
        repository=ForgeRepository("octo/web", github_id=github_id),
        sha=SHA,
        state=state,
        description="Deployment #7 is live",
        context="keystone/web",
        target_url="https://keystone.example.org/deployments/7",
    )


def post(forge: Forge, status: StatusPost | None = None, token: str = TOKEN) -> None:
    forge.post_status(status or status_post(), SecretStr(token))


def error_of(forge: Forge) -> GitHubError:
    with pytest.raises(GitHubError) as caught:
        post(forge)
    assert TOKEN not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value


def scripted(status: int, message: str, headers: Mapping[str, str] | None = None) -> Fault:
    answer = refusal(status, message, headers=headers)
    return Fault(answer.status, answer.headers, answer.body)


@pytest.mark.parametrize("state", list(GitHubState))
def test_a_status_is_posted_with_exactly_one_request(
    forge: Forge, api: GitHubApi, state: GitHubState
) -> None:
    post(forge, status_post(state=state))
    assert api.statuses == [
        PostedStatus(
            repository="octo/web",
            sha=SHA,
            state=state,
            description="Deployment #7 is live",
            context="keystone/web",
            target_url="https://keystone.example.org/deployments/7",
        )
    ]
    assert [(r.method, r.path) for r in api.requests] == [
        ("POST", f"/repos/octo/web/statuses/{SHA}")
    ]


def test_a_repository_is_addressed_by_its_id_when_that_is_known(
    forge: Forge, api: GitHubApi
) -> None:
    post(forge, status_post(github_id=186853002))
    assert [request.path for request in api.requests] == [f"/repositories/186853002/statuses/{SHA}"]
    assert [status.repository for status in api.statuses] == ["186853002"]


def test_posts_do_not_wait_for_each_other(forge: Forge, api: GitHubApi) -> None:
    begun = time.monotonic()
    for _ in range(60):
        post(forge)
    # PyGithub itself would pause a second between two posts.
    assert time.monotonic() - begun < 50
    assert len(api.requests) == 60


def test_a_renamed_repository_is_found_by_its_id(forge: Forge, api: GitHubApi) -> None:
    api.rename("octo/web", "octo/website")
    post(forge)
    assert [status.repository for status in api.statuses] == ["186853002"]
    assert [request.method for request in api.requests] == ["POST", "GET", "GET", "POST"]


def test_a_redirect_of_a_url_with_an_id_is_no_success(forge: Forge, api: GitHubApi) -> None:
    api.fail(Fault.redirect(f"{api.url}/elsewhere", 307))
    with pytest.raises(GitHubError, match="redirected the request") as caught:
        post(forge, status_post(github_id=1))
    assert not caught.value.permanent
    assert api.statuses == []


def test_a_redirect_to_another_host_gets_no_token(forge: Forge, api: GitHubApi) -> None:
    with GitHubApi() as other:
        for status in (301, 302, 307, 308):
            api.heal()
            api.fail(Fault.redirect(f"{other.url}/repositories/1/statuses/{SHA}", status))
            with pytest.raises(GitHubError):
                post(forge)
        assert other.requests == []


def test_a_redirect_in_a_circle_ends(forge: Forge, api: GitHubApi) -> None:
    api.fail(Fault.redirect(f"{api.url}/repos/octo/round", 301))
    assert not error_of(forge).permanent


def test_a_wrong_token_is_permanent(forge: Forge) -> None:
    with pytest.raises(GitHubTokenError, match='expired or wrong \\("Bad credentials"') as caught:
        post(forge, token="ghp_wrong")
    assert caught.value.permanent


@pytest.mark.parametrize("token", ["", "a b", "line\nbreak", "ünïcode", "tab\t"])
def test_a_token_that_fits_no_header_is_neither_sent_nor_quoted(
    forge: Forge, api: GitHubApi, token: str
) -> None:
    with pytest.raises(GitHubError, match="no token has") as caught:
        post(forge, token=token)
    assert caught.value.permanent
    assert not token or token not in str(caught.value)
    assert api.requests == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("2026-12-01 10:30:00 UTC", datetime(2026, 12, 1, 10, 30, tzinfo=UTC)),
        ("2026-12-01 10:30:00 +0200", datetime(2026, 12, 1, 8, 30, tzinfo=UTC)),
        ("soon", None),
        ("", None),
    ],
)
def test_the_tokens_expiry_is_read_from_the_answer(
    forge: Forge, api: GitHubApi, header: str, expected: datetime | None
) -> None:
    body = json.dumps({"state": status_post().state}).encode()
    told = {"GitHub-Authentication-Token-Expiration": header} if header else {}
    api.fail(Fault(status=201, headers=told, body=body))
    assert forge.post_status(status_post(), SecretStr(TOKEN)) == expected


def test_a_missing_permission_is_named(forge: Forge, api: GitHubApi) -> None:
    message = "Resource not accessible by personal access token"
    api.fail(scripted(403, message, {"X-Accepted-GitHub-Permissions": "statuses=write"}))
    error = error_of(forge)
    wanted = "the token lacks a permission; GitHub wants statuses=write"
    assert str(error) == f'{wanted} ("{message}")'
    assert isinstance(error, GitHubDeniedError)
    assert error.permanent
    assert len(api.requests) == 1


def test_a_token_that_the_answer_repeats_is_masked(forge: Forge, api: GitHubApi) -> None:
    api.fail(scripted(403, f"no {TOKEN} here", {}))
    assert str(error_of(forge)) == "GitHub forbids it: no [REDACTED] here"


def test_a_plain_403_is_permanent(forge: Forge, api: GitHubApi) -> None:
    api.fail(scripted(403, "Repository was archived so is read-only."))
    error = error_of(forge)
    assert "archived" in str(error)
    assert error.permanent


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        (scripted(403, "You have exceeded a secondary rate limit.", {"Retry-After": "30"}), 30, 30),
        (scripted(429, "Too many requests", {"Retry-After": "7"}), 7, 7),
        (scripted(429, "Too many requests"), 60, 60),
        (scripted(429, "Too many requests", {"Retry-After": "soon"}), 60, 60),
        (scripted(429, "Too many requests", {"Retry-After": "0"}), 1, 1),
        (scripted(429, "Too many requests", {"Retry-After": "999999999"}), 86400, 86400),
        (scripted(403, "API rate limit exceeded for user ID 1."), 60, 60),
    ],
)
def test_a_rate_limit_is_raised_at_once_with_the_time_to_wait(
    forge: Forge, api: GitHubApi, fault: Fault, least: float, most: float
) -> None:
    api.fail(fault)
    error = error_of(forge)
    assert not error.permanent
    # A waiting call would time out after 25 s without the time to wait, and a retry would count as
    # another request.
    assert error.retry_after_s is not None
    assert least <= error.retry_after_s <= most
    assert len(api.requests) == 1


def test_a_rate_limit_with_a_reset_time_gives_the_time_until_then(
    forge: Forge, api: GitHubApi
) -> None:
    ends = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3600)}
    api.fail(scripted(403, "API rate limit exceeded for user ID 1.", ends))
    error = error_of(forge)
    assert error.retry_after_s is not None
    assert 3500 <= error.retry_after_s <= 3602


def test_a_repository_that_is_not_there_is_permanent(forge: Forge, api: GitHubApi) -> None:
    api.fail(scripted(404, "Not Found"))
    error = error_of(forge)
    assert str(error) == "octo/web does not exist or the token may not see it"
    assert error.permanent


def test_a_refused_status_is_permanent_with_githubs_words(forge: Forge, api: GitHubApi) -> None:
    answer = refusal(422, "Validation Failed", errors=[{"message": LONG_MESSAGE}, "twice"])
    api.fail(Fault(422, answer.headers, answer.body))
    error = error_of(forge)
    assert str(error) == f"GitHub refused the status: Validation Failed; {LONG_MESSAGE}; twice"
    assert error.permanent


@pytest.mark.parametrize("character", ["\U0001f680", "\ud83d"])
def test_a_refused_character_in_a_description_fails_only_that_status(
    forge: Forge, api: GitHubApi, character: str
) -> None:
    with pytest.raises(GitHubContentError, match="characters above 0xffff") as caught:
        post(forge, replace(status_post(), description=f"lift-off {character}"))
    assert caught.value.permanent
    assert api.statuses == []


def test_a_commit_with_too_many_statuses_fails_only_that_status(
    forge: Forge, api: GitHubApi
) -> None:
    api.most_statuses = 2
    post(forge)
    post(forge)
    error = error_of(forge)
    assert isinstance(error, GitHubContentError)
    assert "reached the maximum number of statuses" in str(error)


def test_one_failure_is_survived(forge: Forge, api: GitHubApi) -> None:
    api.fail(Fault(status=502, body=b"<html>", times=1))
    post(forge)
    assert len(api.statuses) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_of_a_failing_api_may_be_retried(
    forge: Forge, api: GitHubApi, status: int
) -> None:
    api.fail(Fault(status=status, headers={"Retry-After": "120"}, body=b"<html>"))
    begun = time.monotonic()
    error = error_of(forge)
    assert time.monotonic() - begun < 60
    assert f"status {status}" in str(error)
    assert (error.permanent, error.retry_after_s) == (False, 120)
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome to the hotel</html>",
        b"",
        b"[]",
        b"null",
        b'{"state": 7}',
        b'{"state": "pending"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_201_without_a_status_is_no_success(forge: Forge, api: GitHubApi, body: bytes) -> None:
    api.fail(Fault(status=201, body=body))
    error = error_of(forge)
    assert "was not GitHub's API" in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    "body", [b"[]", b'{"message": 7, "errors": 8}', b"{", b'{"message": null}']
)
def test_a_refusal_without_a_message_is_understood(
    forge: Forge, api: GitHubApi, body: bytes
) -> None:
    api.fail(Fault(status=422, body=body))
    assert error_of(forge).permanent


def test_a_hanging_api_is_tried_twice(api: GitHubApi) -> None:
    api.fail(Fault(hang=True))
    begun = time.monotonic()
    error = error_of(GitHubForge(api.url, timeout_s=1))
    assert time.monotonic() - begun < 30
    assert not error.permanent
    # The server may record the second request a little later.
    while len(api.requests) < 2:
        assert time.monotonic() - begun < 60
        time.sleep(0.02)
    assert len(api.requests) == 2


def test_a_slow_answer_times_out(api: GitHubApi) -> None:
    forge: Forge = GitHubForge(api.url, timeout_s=1, total_timeout_s=1.5)
    api.fail(Fault(trickle=True))
    begun = time.monotonic()
    error = error_of(forge)
    assert 1 < time.monotonic() - begun < 30
    assert "within 1.5 s" in str(error)
    assert not error.permanent


def test_a_cut_connection_may_be_retried(forge: Forge, api: GitHubApi) -> None:
    api.fail(Fault(reset=True))
    error = error_of(forge)
    assert "could not be reached" in str(error)
    assert not error.permanent


def test_an_unreachable_api_may_be_retried() -> None:
    error = error_of(GitHubForge("http://127.0.0.1:1", timeout_s=1))
    assert "could not be reached" in str(error)
    assert not error.permanent


def test_odd_headers_do_not_break_anything(forge: Forge, api: GitHubApi) -> None:
    headers = {"X-RateLimit-Reset": "never", "X-RateLimit-Limit": "x", "X-RateLimit-Remaining": "y"}
    api.fail(Fault(status=201, headers=headers, body=json.dumps({"state": "success"}).encode()))
    assert not error_of(forge).permanent


def test_the_token_stays_out_of_the_logs(
    forge: Forge, api: GitHubApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    post(forge)
    api.fail(Fault(status=500, body=b"no"))
    error_of(forge)
    assert TOKEN not in caplog.text


@given(message=st.text(max_size=400), extra=st.text(max_size=400))
def test_githubs_words_are_shown_on_one_short_printable_line(message: str, extra: str) -> None:
    answer = Answer(422, {}, {"message": message, "errors": [{"message": extra}, extra, 7]})
    assert len(answer.message) <= 200
    assert answer.message == one_line(answer.message)


@given(place=st.integers(150, 210))
def test_a_shortened_message_of_github_never_contains_half_a_token(place: int) -> None:
    message = f"{'nobody knows ' * 20}"[:place] + f" {TOKEN} here"
    assert TOKEN[:8] not in Answer(422, {}, {"message": message}).message.replace(TOKEN, "")
