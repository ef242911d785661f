"""Going back: the release as it was, without a build, and no push in between."""

import pytest
from pydantic import SecretStr
from sqlmodel import select

from jobs.errors import NoReleaseError
from jobs.records.rollbacks import roll_back
from jobs.records.variables import set_variables
from jobs.rules.variables import Variable
from jobs.states import DeploymentState, Kind, StepName, Trigger
from jobs.storage.models import App, AuditEvent, Deployment
from tests.builders import change_settings
from tests.fakes import Behaviour
from tests.jobs.bench import FILES, TESTER, Bench, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(memory_mb=64, keep_releases=3)


def deploy_another(bench: Bench) -> Deployment:
    sha = bench.repository().commit({**FILES, "number": str(bench.pushed)})
    return bench.run(bench.deliver(push_of(bench, sha)).deployments[0][0].id or 0)


def ask_back(bench: Bench, app: App, number: int | None = None) -> int:
    with bench.writing() as session:
        return roll_back(session, session.get_one(App, app.id), number, TESTER).id or 0


def test_the_release_before_is_started_as_it_was(bench: Bench, app: App) -> None:
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        wanted = {"MODE": Variable(SecretStr("first"))}
        set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
    first = deploy_another(bench)
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        change_settings(row, memory_mb=99)
        wanted = {"MODE": Variable(SecretStr("second"))}
        set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
    deploy_another(bench)
    builds = len(bench.world.calls("build", "fetch"))

    done = bench.run(ask_back(bench, app))

    assert (done.state, done.kind, done.trigger) == (
        DeploymentState.SUCCESS,
        Kind.ROLLBACK,
        Trigger.ROLLBACK,
    )
    assert (done.release_id, done.commit_sha) == (first.release_id, first.commit_sha)
    assert len(bench.world.calls("build", "fetch")) == builds
    assert next(iter(bench.steps(done.id or 0))) is StepName.START
    spec = bench.world.engine.all_containers[bench.container_of(done.id or 0)].spec
    assert spec.settings.memory_mb == 64
    assert spec.environment["MODE"].get_secret_value() == "first"
    assert bench.serving(app) == bench.container_of(done.id or 0)


def test_auto_deploy_stays_off_until_a_person_turns_it_on(bench: Bench, app: App) -> None:
    deploy_another(bench)
    deploy_another(bench)
    bench.run(ask_back(bench, app))
    receipt = bench.deliver(push_of(bench, bench.commit()))
    assert receipt.deployments == ()
    assert receipt.reason == "auto-deploy of web is paused"
    assert bench.fresh(app).paused_reason == "rolled back to v1 by user:ada"
    with bench.reading() as session:
        events = {event.tag: event.details for event in session.exec(select(AuditEvent)).all()}
    assert events["app.changed"] == {
        "before": {"auto_deploy": True},
        "after": {"auto_deploy": False},
    }
    assert events["deployment.requested"]["release"] == "v1"


def test_a_rollback_drops_queued_deployments(bench: Bench, app: App) -> None:
    deploy_another(bench)
    deploy_another(bench)
    waiting = bench.push(app)
    ask_back(bench, app)
    found = bench.deployment(waiting)
    assert found.state is DeploymentState.SUPERSEDED
    assert found.reason == "rolled back to v1 by user:ada"


def test_any_kept_release_can_be_named(bench: Bench, app: App) -> None:
    for _ in range(3):
        deploy_another(bench)
    assert bench.run(ask_back(bench, app, 1)).state is DeploymentState.SUCCESS
    assert bench.run(ask_back(bench, app, 3)).state is DeploymentState.SUCCESS
    with bench.reading() as session:
        assert session.get_one(App, app.id).live_release_id == 3


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (4, "v4 is the live release"),
        (1, r"v1 is not kept or was never live; kept are: v3, v2"),
        (9, "v9 is not kept"),
    ],
)
def test_an_impossible_rollback_gives_the_reason(
    bench: Bench, app: App, number: int, sentence: str
) -> None:
    for _ in range(4):
        deploy_another(bench)
    with pytest.raises(NoReleaseError, match=sentence):
        ask_back(bench, app, number)
    assert bench.fresh(app).auto_deploy


def test_without_an_earlier_release_there_is_no_way_back(bench: Bench, app: App) -> None:
    with pytest.raises(NoReleaseError, match="no earlier release"):
        ask_back(bench, app)
    deploy_another(bench)
    with pytest.raises(NoReleaseError, match="no earlier release"):
        ask_back(bench, app)


def test_a_release_that_never_became_healthy_cannot_be_started_again(
    bench: Bench, app: App
) -> None:
    good = deploy_another(bench)
    bench.world.engine.behaviour = Behaviour(exits=1)
    deploy_another(bench)
    bench.world.engine.behaviour = Behaviour()
    deploy_another(bench)
    assert bench.run(ask_back(bench, app)).release_id == good.release_id


def test_an_image_that_somebody_removed_is_built_again(bench: Bench, app: App) -> None:
    first = deploy_another(bench)
    deploy_another(bench)
    with bench.reading() as session:
        commit = session.get_one(Deployment, first.id).commit_sha
    for image in bench.world.engine.images():
        if commit[:12] in str(image.tags):
            del bench.world.engine.all_images[image.id]
    done = bench.run(ask_back(bench, app))
    assert done.state is DeploymentState.SUCCESS
    assert StepName.BUILD in bench.steps(done.id or 0)


def test_a_rollback_that_fails_leaves_the_live_one_serving(bench: Bench, app: App) -> None:
    deploy_another(bench)
    second = deploy_another(bench)
    bench.world.engine.behaviour = Behaviour(exits=1)
    assert bench.run(ask_back(bench, app)).state is DeploymentState.FAILURE
    assert bench.serving(app) == bench.container_of(second.id or 0)
