"""What every `Forge` promises of webhooks and their deliveries, over real HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.adapters.github.forge import GitHubForge
from jobs.adapters.github.hooks import is_same_address, next_cursor
from jobs.adapters.ports import Forge
from jobs.errors import GitHubDeniedError, GitHubError
from jobs.rules.repository_values import ForgeRepository, Hook, HookWish
from tests.githubapi import Fault, GitHubApi, refusal
from tests.githubhooks import KnownHook

TOKEN = SecretStr("ghp_HookContract0123456789")
WEB = ForgeRepository("octo/web")
URL = "https://keystone.example.org/webhooks/github"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WISH = HookWish(URL, SecretStr("the webhook's own secret"))

Call = Callable[[Forge], object]
CALLS: list[Call] = [
    lambda forge: forge.hook_at(WEB, URL, TOKEN),
    lambda forge: forge.deliveries(WEB, Hook(42, URL), TOKEN, since=LONG_AGO),
    lambda forge: forge.install_hook(WEB, WISH, TOKEN),
]


@pytest.fixture(name="api")
def fixture_api() -> Iterator[GitHubApi]:
    with GitHubApi(token=TOKEN.get_secret_value()) as api:
        api.know("octo/web", 186853002)
        yield api


@pytest.fixture(name="forge")
def fixture_forge(api: GitHubApi) -> Forge:
    return GitHubForge(api.url, timeout_s=20)


@pytest.fixture(name="hook")
def fixture_hook(api: GitHubApi) -> KnownHook:
    api.hooks.add("octo/web", "https://chat.example.org/hooks")
    return api.hooks.add("octo/web", URL)


def as_port(hook: KnownHook) -> Hook:
    return Hook(hook.id, hook.url)


# --- Finding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", [URL, f"{URL}/", "HTTPS://Keystone.example.org:443/webhooks/github"]
)
def test_the_webhook_with_our_url_is_found(
    forge: Forge, api: GitHubApi, hook: KnownHook, url: str
) -> None:
    found = forge.hook_at(WEB, url, TOKEN)
    assert found is not None
    assert found.id == hook.id
    (request,) = api.requests
    assert (request.method, request.path) == ("GET", "/repos/octo/web/hooks")


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(
    "url", ["https://other.example.org/webhooks/github", "https://keystone.example.org/", "x:y:z"]
)
def test_a_webhook_with_another_url_is_not_found(forge: Forge, url: str) -> None:
    assert forge.hook_at(WEB, url, TOKEN) is None


def test_a_renamed_repository_is_found(forge: Forge, api: GitHubApi) -> None:
    api.rename("octo/web", "octo/website")
    api.hooks.add("octo/website", URL)
    assert forge.hook_at(WEB, URL, TOKEN) is not None


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_of_a_read_is_followed_by_the_id_only(
    forge: Forge, api: GitHubApi, hook: KnownHook, status: int
) -> None:
    with GitHubApi() as other:
        address = f"{other.url}/repositories/1/hooks"
        api.fail(Fault(status=status, headers={"Location": address}, times=1))
        found = forge.hook_at(WEB, URL, TOKEN)
        assert other.requests == []
    assert found is not None
    assert found.id == hook.id
    assert [r.path for r in api.requests][1:] == [
        "/repos/octo/web",
        "/repositories/186853002/hooks",
    ]


# --- Deliveries ------------------------------------------------------------------------------


def test_attempts_are_listed_newest_first_as_github_describes_them(
    forge: Forge, hook: KnownHook
) -> None:
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    first = hook.delivered("guid-a", {}, status_code=0, at=at)
    second = hook.delivered("guid-b", {}, status_code=202, at=at + timedelta(seconds=5))
    listed = forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO)
    assert not listed.is_cut
    assert [(item.id, item.guid) for item in listed.items] == [
        (second, "guid-b"),
        (first, "guid-a"),
    ]
    newest, oldest = listed.items
    assert (newest.status_code, newest.status, newest.event) == (202, "OK", "push")
    assert (oldest.status_code, oldest.status, oldest.at) == (0, "failed to connect to host", at)


def test_every_page_is_read(forge: Forge, api: GitHubApi, hook: KnownHook) -> None:
    for number in range(250):
        hook.delivered(f"guid-{number}", {})
    listed = forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO)
    assert [item.guid for item in listed.items] == [f"guid-{n}" for n in reversed(range(250))]
    assert len(api.requests) == 3
    assert {request.path for request in api.requests} == {
        f"/repos/octo/web/hooks/{hook.id}/deliveries"
    }


def test_reading_stops_at_the_requested_time(forge: Forge, api: GitHubApi, hook: KnownHook) -> None:
    now = datetime.now(UTC)
    for number in range(300):
        hook.delivered(f"guid-{number}", {}, at=now - timedelta(minutes=300 - number))
    since = now - timedelta(minutes=120)
    listed = forge.deliveries(WEB, as_port(hook), TOKEN, since=since)
    assert len(api.requests) == 2
    assert all(item.at >= since for item in listed.items)
    assert len(listed.items) in {119, 120}


def test_a_list_without_end_is_cut(forge: Forge, api: GitHubApi, hook: KnownHook) -> None:
    for number in range(1001):
        hook.delivered(f"guid-{number}", {})
    listed = forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO)
    assert (len(listed.items), listed.is_cut, len(api.requests)) == (1000, True, 10)


@pytest.mark.parametrize(
    "odd",
    [
        {"guid": "not a guid"},
        {"guid": None},
        {"id": "42"},
        {"id": True},
        {"event": 7},
        {"delivered_at": "yesterday"},
        {"delivered_at": "2026-11-23T12:00:00"},
        {"status": "pending"},
    ],
)
def test_an_attempt_that_is_invalid_or_still_pending_is_left_out(
    forge: Forge, hook: KnownHook, odd: dict[str, Any]
) -> None:
    hook.delivered("guid-odd", {}, **odd)
    hook.delivered("guid-b", {})
    listed = forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO)
    assert [item.guid for item in listed.items] == ["guid-b"]


def test_the_payload_of_a_delivery_is_unchanged(forge: Forge, hook: KnownHook) -> None:
    told = {"ref": "refs/heads/main", "head_commit": {"message": "Größer & <b>"}}
    hook.delivered("guid-a", told)
    (item,) = forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO).items
    assert forge.payload(WEB, as_port(hook), item, TOKEN) == told


# --- Installing ------------------------------------------------------------------------------


def test_a_webhook_is_made_for_signed_pushes_as_json(forge: Forge, api: GitHubApi) -> None:
    made = forge.install_hook(WEB, WISH, TOKEN)
    (hook,) = api.hooks.of("octo/web")
    assert (made.id, made.is_new) == (hook.id, True)
    assert (hook.url, hook.secret) == (URL, WISH.secret.get_secret_value())
    assert (hook.content_type, hook.events, hook.active) == ("json", ["push"], True)
    assert json.loads(api.requests[-1].body)["config"]["insecure_ssl"] == "0"


def test_an_existing_webhook_is_corrected(forge: Forge, api: GitHubApi) -> None:
    there = api.hooks.add("octo/web", f"{URL}/", events=["release"], active=False, secret="old")
    for _ in range(2):
        made = forge.install_hook(WEB, WISH, TOKEN)
        assert (made.id, made.is_new) == (there.id, False)
    assert api.hooks.of("octo/web") == [there]
    assert (there.events, there.content_type, there.active) == (["push"], "json", True)
    assert there.secret == WISH.secret.get_secret_value()


def test_a_refused_webhook_gives_githubs_own_message(forge: Forge, api: GitHubApi) -> None:
    api.fail(
        Fault(200, {}, b"[]", times=1),
        Fault(422, {}, refusal(422, "Validation Failed", errors=["url is not reachable"]).body),
    )
    with pytest.raises(GitHubError, match="refused the webhook: Validation Failed; url is not"):
        forge.install_hook(WEB, WISH, TOKEN)


# --- Refusals and trouble --------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_missing_rights_give_githubs_own_message(
    forge: Forge, api: GitHubApi, hook: KnownHook, call: Call
) -> None:
    api.hooks.fine_grained_rights = False
    with pytest.raises(GitHubDeniedError, match="GitHub wants repository_hooks=read"):
        call(forge)
    api.hooks.fine_grained_rights, api.hooks.classic_scopes = True, False
    with pytest.raises(GitHubDeniedError, match=r"a scope of admin:repo_hook.*has repo"):
        call(forge)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=200, body=b"<html>Welcome to the hotel</html>"),
        Fault(status=200, body=b'{"message": "no list"}'),
        Fault(status=204),
        Fault(status=401, body=b"{}"),
        Fault(reset=True),
        Fault.redirect("https://elsewhere.invalid/hooks", 301),
    ],
    ids=["500", "html", "object", "204", "401", "reset", "redirect"],
)
def test_whatever_goes_wrong_is_a_github_error_and_no_missing_right(
    forge: Forge, api: GitHubApi, call: Call, fault: Fault
) -> None:
    api.fail(fault)
    with pytest.raises(GitHubError) as caught:
        call(forge)
    assert not isinstance(caught.value, GitHubDeniedError)
    assert TOKEN.get_secret_value() not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_slow_list_times_out(api: GitHubApi) -> None:
    forge = GitHubForge(api.url, timeout_s=1, total_timeout_s=1.5)
    api.fail(Fault(trickle=True))
    begun = time.monotonic()
    with pytest.raises(GitHubError, match=r"within 1\.5 s"):
        forge.hook_at(WEB, URL, TOKEN)
    assert time.monotonic() - begun < 30


def test_a_rate_limit_is_raised_at_once(forge: Forge, api: GitHubApi) -> None:
    answer = refusal(429, "Too many requests", headers={"Retry-After": "70"})
    api.fail(Fault(answer.status, answer.headers, answer.body))
    with pytest.raises(GitHubError) as caught:
        forge.hook_at(WEB, URL, TOKEN)
    assert caught.value.retry_after_s == 70
    assert len(api.requests) == 1


def test_the_last_requests_are_kept_for_commit_statuses(
    forge: Forge, api: GitHubApi, hook: KnownHook
) -> None:
    reset = int(time.time()) + 1800
    api.hooks.headers = {"X-RateLimit-Remaining": "99", "X-RateLimit-Reset": str(reset)}
    with pytest.raises(GitHubError, match="only 99 requests are left") as caught:
        forge.hook_at(WEB, URL, TOKEN)
    assert caught.value.retry_after_s is not None
    assert 1700 < caught.value.retry_after_s < 1810
    api.hooks.headers = {"X-RateLimit-Remaining": "100", "X-RateLimit-Reset": str(reset)}
    assert forge.hook_at(WEB, URL, TOKEN) == as_port(hook)


def test_a_next_page_on_another_host_gets_no_token(
    forge: Forge, api: GitHubApi, hook: KnownHook
) -> None:
    hook.delivered("guid-a", {})
    with GitHubApi() as other:
        link = f'<{other.url}/deliveries?cursor=v1_1>; rel="next"'
        api.hooks.headers = {"Link": link}
        forge.deliveries(WEB, as_port(hook), TOKEN, since=LONG_AGO)
        assert other.requests == []


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        ('<https://api.github.com/x?per_page=100&cursor=v1_17>; rel="next"', "v1_17"),
        ('<https://x/?cursor=a>; rel="prev", <https://x/?cursor=b>; rel="next"', "b"),
        ('<https://x/?cursor=a>; rel="prev"', None),
        ('<https://x/?page=2>; rel="next"', None),
        ('<https://x/?cursor=a&cursor=b>; rel="next"', None),
        ('<https://[x/?cursor=a>; rel="next"', None),
        ("", None),
    ],
)
def test_only_the_cursor_is_taken_from_a_link(link: str, cursor: str | None) -> None:
    assert next_cursor(link) == cursor


@pytest.mark.parametrize("url", ["https://[x/", "https://x:port/"])
def test_an_invalid_url_equals_no_url(url: str) -> None:
    assert not is_same_address(url, url)
