"""Pushes whose net change touches nothing that the app watches: trees tell, not lists of paths."""

from collections.abc import Callable

import pytest

from jobs.errors import BuildError, GitError
from jobs.records.rollbacks import roll_back
from jobs.states import ContainerState, DeploymentState, GitHubState, StepName, StepState, Trigger
from jobs.storage.models import App, Deployment
from tests.jobs.bench import FILES, TESTER, Bench, kill, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(watch_paths=["api", "Dockerfile", "!api/docs"])


@pytest.fixture
def live(bench: Bench, app: App) -> Deployment:
    """The app's live deployment, of a commit with api/main.go at its first version."""
    done = deliver(bench, {"api/main.go": "1"})
    assert done.state is DeploymentState.SUCCESS
    return done


def commit(bench: Bench, files: dict[str, str]) -> str:
    return bench.repository().commit({**FILES, **files}, message=f"Change {files} {bench.pushed}")


def deliver(bench: Bench, files: dict[str, str], *, ref: str = "refs/heads/main") -> Deployment:
    """Push these files, with a payload that cannot tell which paths it touched, and run."""
    receipt = bench.deliver(push_of(bench, commit(bench, files), paths=None, ref=ref))
    ((row, _),) = receipt.deployments
    return bench.run(row.id or 0)


def built(bench: Bench, done: Deployment) -> bool:
    """Whether a deployment was built and went live."""
    assert done.state is DeploymentState.SUCCESS, done.reason
    return StepName.SWITCH in bench.steps(done.id or 0)


def test_a_change_that_is_reverted_leaves_the_live_release(
    bench: Bench, app: App, live: Deployment
) -> None:
    sha = commit(bench, {"api/main.go": "1", "README.md": "new"})
    push = push_of(bench, sha, paths=frozenset({"api/main.go", "README.md"}))
    ((row, _),) = bench.deliver(push).deployments
    done = bench.run(row.id or 0)
    assert (done.state, done.release_id) == (DeploymentState.SUCCESS, None)
    assert done.reason == (
        f"nothing to do: v1 is live, and web watches nothing in which {sha[:7]} differs from it "
        f"({live.commit_sha[:7]})"
    )
    assert bench.steps(done.id or 0) == {StepName.CHECKOUT: StepState.SUCCESS}
    fresh = bench.fresh(app)
    assert (fresh.live_deployment_id, fresh.live_release_id) == (live.id, live.release_id)
    assert bench.serving(app) == fresh.live_container_id
    assert bench.leases() == []
    assert done.reason in bench.log(done.id or 0)


def test_github_is_told_that_it_is_a_success_and_why(bench: Bench, live: Deployment) -> None:
    done = deliver(bench, {"api/main.go": "1", "README.md": "new"})
    last = bench.statuses(done.id or 0)[-1]
    assert last.state is GitHubState.SUCCESS
    assert last.description == f"Deployment #2: {done.reason}"
    assert bench.statuses(live.id or 0)[-1].description == "Deployment #1: live"


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(
    ("files", "is_built"),
    [
        ({"api/main.go": "2"}, True),
        ({"api/main.go": "1", "api/new.go": "1"}, True),
        ({}, True),
        ({"api/main.go": "1", "api/docs/x": "1", "web/y": "1"}, False),
    ],
)
def test_only_the_watched_paths_count(
    bench: Bench, files: dict[str, str], *, is_built: bool
) -> None:
    assert built(bench, deliver(bench, files)) is is_built


def test_the_next_push_is_compared_with_what_is_live(bench: Bench, live: Deployment) -> None:
    assert not built(bench, deliver(bench, {"api/main.go": "1", "README.md": "a"}))
    assert built(bench, deliver(bench, {"api/main.go": "2", "README.md": "a"}))
    # A force-push back to the first commit.
    push = push_of(bench, live.commit_sha, paths=None)
    ((row, _),) = bench.deliver(push).deployments
    assert built(bench, bench.run(row.id or 0))


def test_a_revert_of_what_failed_to_build_is_no_work_and_ends_the_failure(
    bench: Bench, app: App, live: Deployment
) -> None:
    bench.world.engine.fail("build", BuildError("npm ERR! missing script: build"))
    failed = deliver(bench, {"api/main.go": "broken"})
    assert failed.state is DeploymentState.FAILURE
    bench.world.engine.heal()
    assert not built(bench, deliver(bench, {"api/main.go": "1"}))
    assert bench.fresh(app).live_deployment_id == live.id


@pytest.mark.usefixtures("live")
def test_an_older_push_that_arrives_later_does_not_go_live(bench: Bench, app: App) -> None:
    older = push_of(bench, commit(bench, {"api/main.go": "2"}), paths=None)
    newer = push_of(bench, commit(bench, {"api/main.go": "1"}), paths=None)
    ((row, _),) = bench.deliver(newer).deployments
    assert not built(bench, bench.run(row.id or 0))
    ((late, _),) = bench.deliver(older).deployments
    assert bench.deployment(late.id or 0).state is DeploymentState.SUPERSEDED
    assert bench.states(app) == ["success", "success", "superseded"]


def test_the_first_push_is_deployed(bench: Bench, app: App) -> None:
    assert built(bench, deliver(bench, {"README.md": "1"}))
    assert bench.fresh(app).live_release_id is not None


def test_a_person_and_a_tag_always_deploy(bench: Bench, app: App, live: Deployment) -> None:
    assert built(bench, bench.run(bench.ask(app, sha=live.commit_sha)))
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        row.push_rules = row.push_rules.model_copy(update={"tag_pattern": "v*"})
    same = {"api/main.go": "1", "README.md": "tag"}
    assert built(bench, deliver(bench, same, ref="refs/tags/v1"))


def without_rules(app: App) -> None:
    app.push_rules = app.push_rules.model_copy(update={"watch_paths": ()})


def reconfigured(app: App) -> None:
    app.configuration += 1


def exited(app: App) -> None:
    app.container_state = ContainerState.EXITED


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize("changed", [without_rules, reconfigured, exited])
def test_in_doubt_it_is_deployed(bench: Bench, app: App, changed: Callable[[App], None]) -> None:
    with bench.writing() as session:
        changed(session.get_one(App, app.id))
    assert built(bench, deliver(bench, {"api/main.go": "1", "README.md": "new"}))


def test_without_the_live_commit_it_is_deployed(bench: Bench, live: Deployment) -> None:
    del bench.repository().commits[live.commit_sha]
    assert built(bench, deliver(bench, {"api/main.go": "1", "README.md": "new"}))


@pytest.mark.usefixtures("live")
def test_a_mirror_that_cannot_compare_deploys(bench: Bench) -> None:
    bench.world.source.fail("changed", GitError("git is slow"))
    done = deliver(bench, {"api/main.go": "1", "README.md": "new"})
    assert built(bench, done)
    assert "not compared with v1: git is slow" in bench.log(done.id or 0)


def test_after_a_rollback_a_push_is_compared_with_the_release_that_is_live(
    bench: Bench, app: App, live: Deployment
) -> None:
    assert built(bench, deliver(bench, {"api/main.go": "2"}))
    with bench.writing() as session:
        back = roll_back(session, session.get_one(App, app.id), None, TESTER).id or 0
    assert built(bench, bench.run(back))
    with bench.writing() as session:
        session.get_one(App, app.id).auto_deploy = True
    assert not built(bench, deliver(bench, {"api/main.go": "1", "x": "1"}))
    assert built(bench, deliver(bench, {"api/main.go": "2", "x": "1"}))
    assert bench.deployment(live.id or 0).trigger is Trigger.PUSH


@pytest.mark.usefixtures("live")
def test_a_worker_that_dies_while_it_compares_is_followed_by_another(
    bench: Bench, app: App
) -> None:
    sha = commit(bench, {"api/main.go": "1", "README.md": "new"})
    ((row, _),) = bench.deliver(push_of(bench, sha, paths=None)).deployments
    bench.world.source.on("changed", kill)
    bench.run_and_die(row.id or 0)
    bench.reconcile()
    done = bench.run(row.id or 0)
    assert not built(bench, done)
    assert bench.leases() == []
    assert bench.states(app) == ["success", "success"]
