"""checkout: exactly the commit that was asked for, and only while it is the one to deploy."""

import pytest

from jobs.states import DeploymentState, StepName, StepState
from jobs.storage.models import App, Repository
from tests.jobs.bench import FILES, Bench, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def test_a_push_deploys_its_own_commit_though_the_branch_is_further(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    pushed = bench.deployment(deployment).commit_sha
    bench.repository().commit({**FILES, "more": "x"})
    assert bench.run(deployment).commit_sha == pushed


def test_the_branch_is_asked_only_when_the_order_is_unknown(bench: Bench, app: App) -> None:
    bench.deploy(app)
    bench.deploy(app)
    assert bench.world.calls("head") == []
    late = push_of(bench, bench.commit(), before="e" * 40, pushed_at=bench.pushed + 1_700_000_000)
    bench.run(bench.deliver(late).deployments[0][0].id or 0)
    assert bench.world.calls("head") == ["head refs/heads/main"]


def test_an_overtaken_deployment_ends_superseded_with_its_step(bench: Bench, app: App) -> None:
    live = bench.deploy(app)
    sha = bench.repository().commit({"x": "y"}, branch="lost")
    late = push_of(bench, sha, before="e" * 40, pushed_at=live.pushed_at)
    done = bench.run(bench.deliver(late).deployments[0][0].id or 0)
    assert done.state is DeploymentState.SUPERSEDED
    assert bench.steps(done.id or 0) == {StepName.CHECKOUT: StepState.SUPERSEDED}


def test_a_token_that_is_refused_is_the_repositorys_fault(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.repository().token = "ghp_other"
    done = bench.run(deployment)
    assert done.state is DeploymentState.FAILURE
    assert "refuses the token" in done.reason
    assert "refuses the token" in (token_problem(bench, app) or "")
    bench.repository().token = None
    bench.deploy(app)
    assert token_problem(bench, app) is None


def token_problem(bench: Bench, app: App) -> str | None:
    with bench.reading() as session:
        return session.get_one(Repository, app.repository_id).token_problem


def test_a_commit_that_is_gone(bench: Bench, app: App) -> None:
    done = bench.run(bench.ask(app, sha="e" * 40))
    assert done.state is DeploymentState.FAILURE
    assert "e" * 40 in done.reason


def test_a_git_server_that_is_down_is_ours(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.source.down = True
    assert bench.run(deployment).state is DeploymentState.ERROR
