"""Which token goes where."""

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.errors import ConfigurationError
from jobs.reads.secrets import (
    NOBODY,
    api_token,
    claimed_webhook_secrets,
    git_token,
    repository_token,
    webhook_secrets,
)
from jobs.records.repositories import rotate_webhook_secret, set_repository_token
from jobs.rules.naming import github_host
from jobs.storage.models import App, Repository, RepositorySecret
from jobs.storage.vault import Vault
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
    assert github_host("https://api.octo.ghe.com") == "octo.ghe.com"
    assert github_host("https://api.github.com.evil.example") == "api.github.com.evil.example"


def test_tokens_and_webhook_secrets_come_back_apart(bench: Bench) -> None:
    first: App = bench.app(token="ghp_one")
    second = bench.app("other", repository="octo/other")
    vault = bench.runtime.vault
    with bench.reading() as session:
        token = repository_token(session, first.repository_id, vault)
        assert token is not None
        assert token.get_secret_value() == "ghp_one"
        assert repository_token(session, second.repository_id, vault) is None
        found = [webhook_secrets(session, app.repository_id, vault) for app in (first, second)]
    values = {secret.get_secret_value() for secrets in found for secret in secrets}
    assert len(values) == 2
    assert "ghp_one" not in values


class TestClaimed:
    """The secrets that a delivery is tried with: few, and as many whatever it claims."""

    def found(self, bench: Bench, github_id: int | None, full_name: str) -> dict[int, int]:
        with bench.reading() as session:
            found = claimed_webhook_secrets(
                session, bench.runtime.vault, github_id=github_id, full_name=full_name
            )
        return {owner: len(secrets) for owner, secrets in found.items()}

    def test_of_the_id_and_of_the_name_and_of_nobody_else(self, bench: Bench) -> None:
        for name in ("web", "api", "other"):
            bench.app(name, repository=f"octo/{name}")
        with bench.writing() as session:
            session.get_one(Repository, 2).github_id = 7
        assert self.found(bench, 7, "Octo/WEB") == {1: 1, 2: 1, NOBODY: 0}
        assert self.found(bench, 7, "octo/api") == {2: 1, NOBODY: 1}
        assert self.found(bench, None, "octo/api") == {2: 1, NOBODY: 1}
        assert self.found(bench, 8, "octo/unknown") == {NOBODY: 2}
        assert self.found(bench, None, "") == {NOBODY: 2}

    def test_as_many_for_everybody_while_somebody_has_several(self, bench: Bench) -> None:
        app = bench.app("web", repository="octo/web")
        bench.app("api", repository="octo/api")
        with bench.writing() as session:
            repository = session.get_one(Repository, app.repository_id)
            for _ in range(2):
                rotate_webhook_secret(session, repository, TESTER, vault=bench.runtime.vault)
        assert self.found(bench, None, "octo/web") == {1: 3, NOBODY: 3}
        assert self.found(bench, None, "octo/api") == {2: 1, NOBODY: 5}
        assert self.found(bench, None, "octo/unknown") == {NOBODY: 6}

    def test_without_any_repository(self, bench: Bench) -> None:
        assert self.found(bench, 7, "octo/web") == {NOBODY: 2}

    def test_a_secret_that_cannot_be_opened_is_nobody_elses_trouble(self, bench: Bench) -> None:
        bench.app("web", repository="octo/web")
        bench.app("api", repository="octo/api")
        with bench.writing() as session:
            of_web = select(RepositorySecret).where(RepositorySecret.repository_id == 1)
            session.exec(of_web).one().sealed = b"sealed by somebody else"
        assert self.found(bench, None, "octo/api") == {2: 1, NOBODY: 1}
        with pytest.raises(ConfigurationError):
            self.found(bench, None, "octo/web")


def test_a_new_token_takes_the_old_ones_place_and_an_empty_one_takes_it_away(
    bench: Bench,
) -> None:
    app = bench.app(token="ghp_one")
    vault: Vault = bench.runtime.vault
    for value, expected in (("ghp_two", "ghp_two"), ("", None)):
        with bench.writing() as session:
            repository = session.get_one(Repository, app.repository_id)
            set_repository_token(session, repository, SecretStr(value), TESTER, vault=vault)
            found = repository_token(session, app.repository_id, vault)
            assert (found.get_secret_value() if found else None) == expected
