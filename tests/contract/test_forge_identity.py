"""What every `Forge` promises of a repository's identity, on the fake and over real HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.adapters.github.forge import GitHubForge
from jobs.adapters.ports import Forge
from jobs.errors import GitHubError, GitHubNotFoundError, GitHubTokenError
from jobs.rules.repository_values import ForgeRepository, KnownRepository
from tests.fakes import FakeForge
from tests.githubapi import Fault, GitHubApi, refusal

TOKEN = SecretStr("ghp_IdentityContract0123456789")
WEB_ID, OTHER_ID = 186853002, 186853003
WEB = KnownRepository(WEB_ID, "octo/web")


@dataclass(frozen=True)
class Kept:
    """A forge, and a way to change its repositories."""

    forge: Forge
    know: Callable[[str, int], object]
    delete: Callable[[str], object]
    rename: Callable[[str, str], object]


@pytest.fixture(params=["fake", "real"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "fake":
        yield _fake()
        return
    with GitHubApi(token=TOKEN.get_secret_value()) as api:
        yield Kept(GitHubForge(api.url, timeout_s=20), api.know, api.delete, api.rename)


def _fake() -> Kept:
    forge = FakeForge()

    def rename(before: str, after: str) -> None:
        forge.known[after] = forge.known.pop(before)
        forge.moved[before] = after

    return Kept(forge, forge.known.__setitem__, forge.known.__delitem__, rename)


def test_a_name_gives_the_id_and_githubs_spelling(kept: Kept) -> None:
    kept.know("octo/web", WEB_ID)
    kept.know("octo/other", OTHER_ID)
    assert kept.forge.identify(ForgeRepository("octo/web"), TOKEN) == WEB


def test_an_id_gives_the_present_name(kept: Kept) -> None:
    kept.know("octo/site", WEB_ID)
    kept.know("octo/web", OTHER_ID)
    told = kept.forge.identify(ForgeRepository("octo/web", WEB_ID), TOKEN)
    assert told == KnownRepository(WEB_ID, "octo/site")


def test_an_earlier_name_leads_to_the_present_one(kept: Kept) -> None:
    kept.know("octo/web", WEB_ID)
    kept.rename("octo/web", "octo/site")
    told = kept.forge.identify(ForgeRepository("octo/web"), TOKEN)
    assert told == KnownRepository(WEB_ID, "octo/site")


@pytest.mark.parametrize("github_id", [None, WEB_ID])
def test_a_removed_repository_is_not_found(kept: Kept, github_id: int | None) -> None:
    kept.know("octo/web", WEB_ID)
    kept.delete("octo/web")
    with pytest.raises(GitHubNotFoundError, match="octo/web does not exist or") as caught:
        kept.forge.identify(ForgeRepository("octo/web", github_id), TOKEN)
    assert caught.value.permanent


# --- What only GitHub's own API can show -----------------------------------------------------


@pytest.fixture(name="api")
def fixture_api() -> Iterator[GitHubApi]:
    with GitHubApi(token=TOKEN.get_secret_value()) as api:
        api.know("octo/web", WEB_ID)
        yield api


@pytest.fixture(name="forge")
def fixture_forge(api: GitHubApi) -> Forge:
    return GitHubForge(api.url, timeout_s=20)


def ask(forge: Forge, token: SecretStr | None = TOKEN) -> KnownRepository:
    return forge.identify(ForgeRepository("octo/web"), token)


def test_identifying_takes_one_request(forge: Forge, api: GitHubApi) -> None:
    ask(forge)
    forge.identify(ForgeRepository("octo/web", WEB_ID), TOKEN)
    assert [(each.method, each.path) for each in api.requests] == [
        ("GET", "/repos/octo/web"),
        ("GET", f"/repositories/{WEB_ID}"),
    ]


def test_a_public_repository_is_identified_without_a_token(forge: Forge, api: GitHubApi) -> None:
    with pytest.raises(GitHubNotFoundError):
        ask(forge, None)
    api.know("octo/web", WEB_ID, is_public=True)
    assert ask(forge, None) == WEB
    assert {request.authorization for request in api.requests} == {None}


def test_a_wrong_token_is_not_reported_as_a_missing_repository(forge: Forge) -> None:
    with pytest.raises(GitHubTokenError):
        ask(forge, SecretStr("ghp_wrong"))


def described(**changes: object) -> bytes:
    return json.dumps({"id": WEB_ID, "full_name": "octo/web", **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome to the hotel</html>",
        b"[]",
        described(id=None),
        described(id="186853002"),
        described(id=True),
        described(id=0),
        described(id=-1),
        described(id=2**63),
        described(id=1.0),
        described(full_name=None),
        described(full_name="octo"),
        described(full_name="octo/web/x"),
        described(full_name="octo/<b>"),
        described(full_name="octo/web\n"),
        described(full_name="octo/" + "w" * 101),
    ],
)
def test_an_invalid_description_is_refused(forge: Forge, api: GitHubApi, body: bytes) -> None:
    api.fail(Fault(200, {}, body))
    with pytest.raises(GitHubError, match="was not GitHub's API") as caught:
        ask(forge)
    assert not caught.value.permanent


def test_an_answer_about_another_id_is_refused(forge: Forge, api: GitHubApi) -> None:
    api.fail(Fault(200, {}, described(id=OTHER_ID)))
    with pytest.raises(GitHubError, match="was not GitHub's API"):
        forge.identify(ForgeRepository("octo/web", WEB_ID), TOKEN)


@pytest.mark.parametrize("status", [302, 307, 308])
def test_another_host_is_not_asked(forge: Forge, api: GitHubApi, status: int) -> None:
    with GitHubApi() as other:
        other.know("octo/web", OTHER_ID)
        api.fail(Fault.redirect(f"{other.url}/repositories/{OTHER_ID}", status))
        with pytest.raises(GitHubError):
            ask(forge)
        assert other.requests == []


@pytest.mark.parametrize(
    ("fault", "pause_s"),
    [
        (Fault(status=500), None),
        (Fault(reset=True), None),
        (Fault(429, {"Retry-After": "70"}, refusal(429, "Too many requests").body), 70),
    ],
)
def test_a_temporary_failure_may_be_retried(
    forge: Forge, api: GitHubApi, fault: Fault, pause_s: float | None
) -> None:
    api.fail(fault)
    with pytest.raises(GitHubError) as caught:
        ask(forge)
    assert (caught.value.permanent, caught.value.retry_after_s) == (False, pause_s)
    assert TOKEN.get_secret_value() not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_the_last_requests_are_kept_for_commit_statuses(forge: Forge, api: GitHubApi) -> None:
    told: dict[str, Any] = {"X-RateLimit-Reset": str(int(time.time()) + 1800)}
    api.fail(Fault(200, {**told, "X-RateLimit-Remaining": "99"}, described()))
    with pytest.raises(GitHubError, match="only 99 requests are left"):
        ask(forge)
    # Without a token there are only 60 requests in all, and no statuses to post.
    assert ask(forge, None) == WEB
