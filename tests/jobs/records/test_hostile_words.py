"""No words from outside decide whether the end of a deployment is recorded, and told to GitHub."""

import pytest

from jobs.adapters.github.forge import GitHubForge
from jobs.errors import BuildError, GitError
from jobs.records.repositories import note_token_refused
from jobs.states import DeploymentState
from jobs.storage.models import App, TokenUse
from jobs.watcher import send_all
from tests.githubapi import GitHubApi
from tests.jobs.bench import Bench, push_of

# What no database keeps, what no column holds, what GitHub refuses, what nobody sees.
HOSTILE = {
    "an emoji": "no \N{ROCKET} today",
    "half a character": "half \ud83d",
    "a NUL": "nul \0 here",
    "marks": "\u202egnp.exe\u200b\ufeff",
    "too long": "long " + "w\N{ROCKET}" * 20_000,
    "nothing else": "\N{ROCKET}\u200b" * 100,
}


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_own")


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.usefixtures("app")
def test_a_deployment_ends_and_github_hears_of_it(bench: Bench, words: str) -> None:
    bench.world.engine.build_error = BuildError(words)
    ((row, _),) = bench.deliver(push_of(bench, bench.commit(), message=words)).deployments
    deployment = row.id or 0
    done = bench.run(deployment)
    assert done.state is DeploymentState.FAILURE
    with GitHubApi(token="ghp_own") as api:
        send_all(bench.runtime, GitHubForge(api.url, timeout_s=20))
        assert api.statuses[-1].state == "failure"
    assert bench.statuses(deployment)[-1].posted_at is not None


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_deployment_with_a_hostile_error_from_outside_ends_too(
    bench: Bench, app: App, words: str
) -> None:
    bench.world.source.fail("fetch", GitError(words))
    deployment = bench.push(app)
    assert bench.run(deployment).state is DeploymentState.ERROR
    with bench.writing() as session:
        note_token_refused(session, app.repository_id, TokenUse.API, words)
