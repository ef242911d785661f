"""Which token goes where."""

import pytest
from pydantic import SecretStr

from jobs.models import App, Repository
from jobs.naming import github_host
from jobs.records.repositories import set_token
from jobs.secrets_store import api_token, git_token, repository_token, webhook_secrets
from jobs.vault import Vault
from tests.jobs.bench import TESTER, Bench

OWN, GLOBAL = SecretStr("ghp_own"), SecretStr("ghp_global")
GITHUB_API = "https://api.github.com"


@pytest.mark.parametrize(
    ("git_url", "api_url", "expected"),
    [
        ("https://github.com/octo/web.git", GITHUB_API, GLOBAL),
        ("https://GitHub.com/octo/web.git", GITHUB_API, GLOBAL),
        ("https://gitlab.com/octo/web.git", GITHUB_API, None),
        ("https://github.com.evil.example/octo/web.git", GITHUB_API, None),
        ("https://evil.example/github.com/web.git", GITHUB_API, None),
        ("https://api.github.com/octo/web.git", GITHUB_API, None),
        ("https://ghe.example/octo/web.git", "https://ghe.example/api/v3", GLOBAL),
        ("https://github.com/octo/web.git", "https://ghe.example/api/v3", None),
        ("file:///srv/web.git", GITHUB_API, None),
    ],
)
def test_the_global_token_goes_to_its_own_host_only(
    git_url: str, api_url: str, expected: SecretStr | None
) -> None:
    assert git_token(None, GLOBAL, git_url=git_url, api_url=api_url) == expected


@pytest.mark.parametrize(
    ("own", "fallback", "expected"),
    [(OWN, GLOBAL, OWN), (None, GLOBAL, GLOBAL), (None, SecretStr(""), None)],
)
def test_the_api_is_asked_with_the_own_or_the_global_token(
    own: SecretStr | None, fallback: SecretStr, expected: SecretStr | None
) -> None:
    assert api_token(own, fallback) == expected


def test_a_repositorys_own_token_comes_first() -> None:
    for git_url in ("https://github.com/octo/web.git", "https://gitlab.com/octo/web.git"):
        assert git_token(OWN, GLOBAL, git_url=git_url, api_url=GITHUB_API) == OWN


def test_without_any_there_is_none() -> None:
    url = "https://github.com/octo/web.git"
    assert git_token(None, SecretStr(""), git_url=url, api_url=GITHUB_API) is None


def test_the_host_of_an_api() -> None:
    assert github_host(GITHUB_API) == "github.com"
    assert github_host("https://ghe.example/api/v3") == "ghe.example"


def test_tokens_and_webhook_secrets_come_back_apart(bench: Bench) -> None:
    first: App = bench.app(token="ghp_one")
    second = bench.app("other", repository="octo/other")
    vault = bench.runtime.vault
    with bench.reading() as session:
        token = repository_token(session, first.repository_id, vault)
        assert token is not None
        assert token.get_secret_value() == "ghp_one"
        assert repository_token(session, second.repository_id, vault) is None
        found = webhook_secrets(session, vault)
    assert set(found) == {first.repository_id, second.repository_id}
    values = {secret.get_secret_value() for secrets in found.values() for secret in secrets}
    assert len(values) == 2
    assert "ghp_one" not in values


def test_a_new_token_takes_the_old_ones_place_and_an_empty_one_takes_it_away(
    bench: Bench,
) -> None:
    app = bench.app(token="ghp_one")
    vault: Vault = bench.runtime.vault
    for value, expected in (("ghp_two", "ghp_two"), ("", None)):
        with bench.writing() as session:
            repository = session.get_one(Repository, app.repository_id)
            set_token(session, repository, SecretStr(value), TESTER, vault=vault)
            found = repository_token(session, app.repository_id, vault)
            assert (found.get_secret_value() if found else None) == expected
