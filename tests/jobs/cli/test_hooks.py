"""`keystone hook install`: against GitHub's API over real HTTP."""

from collections.abc import Iterator

import pytest

from tests.githubapi import GitHubApi
from tests.jobs.cli.commands import Commands, Environ

TOKEN = "ghp_CommandLine0123456789"


@pytest.fixture
def github() -> Iterator[GitHubApi]:
    """GitHub, with the repository octo/web."""
    with GitHubApi(token=TOKEN) as api:
        api.know("octo/web", 186853002)
        yield api


@pytest.fixture
def environ(environ: Environ, github: GitHubApi) -> Environ:
    """The settings, with that GitHub."""
    public = {"KEYSTONE_PUBLIC_URL": "https://keystone.example.org"}
    return {**environ, **public, "KEYSTONE_GITHUB_API_URL": github.url}


@pytest.fixture(autouse=True)
def web(keystone: Commands) -> str:
    """An app with a token, and its repository's webhook secret."""
    arguments = ("app", "add", "web", "--repository", "octo/web", "--token-stdin", "--json")
    secret: str = keystone(*arguments, stdin=TOKEN).json["webhook"]["secret"]
    return secret


def test_the_webhook_is_made_and_then_put_right(
    keystone: Commands, github: GitHubApi, web: str
) -> None:
    said = keystone("hook", "install", "web").stdout
    assert "is made: it sends pushes to https://keystone.example.org/webhooks/github" in said
    assert web not in said
    (hook,) = github.hooks.of("octo/web")
    assert hook.secret == web
    hook.secret = "somebody changed it"
    again = keystone("hook", "install", "web", "--json").json
    assert (again["id"], again["is_new"]) == (hook.id, False)
    assert hook.secret == web


def test_a_missing_permission_is_named_as_github_names_it(
    keystone: Commands, github: GitHubApi
) -> None:
    github.hooks.fine_grained_rights = False
    refused = keystone("hook", "install", "web", code=5)
    assert "GitHub wants repository_hooks=read" in refused.stderr
    assert TOKEN not in refused.stderr


def test_an_app_that_does_not_exist(keystone: Commands) -> None:
    assert "there is no app named" in keystone("hook", "install", "api", code=3).stderr
