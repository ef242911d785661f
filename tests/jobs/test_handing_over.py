"""A worker that is to stop: what it has not begun to switch goes back into the queue, untouched."""

import threading
import time

import pytest
from sqlmodel import select

from jobs.dispatch import STOP_SEEN_WITHIN_S
from jobs.reads.releases import restorable_releases
from jobs.records.rollbacks import roll_back
from jobs.states import DeploymentState, StepName, StepState
from jobs.storage.models import App, Deployment, Release
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(health_path="/health", health_timeout_s=60)


def run_and_leave(bench: Bench, deployment_id: int, fake: str, call: str) -> Deployment:
    """Have a worker that is told to stop in the middle of a call run what would last a minute."""
    leaving = threading.Event()
    bench.world.engine.behaviour = Behaviour(unhealthy=True)
    getattr(bench.world, fake).on(call, lambda _: leaving.set())
    left = bench.run(deployment_id, is_leaving=leaving.is_set)
    getattr(bench.world, fake).heal()
    bench.world.engine.behaviour = Behaviour()
    bench.world.engine.build_takes_s = 0
    return left


@pytest.mark.parametrize(
    ("fake", "call"),
    [("source", "fetch"), ("engine", "build"), ("engine", "start"), ("probe", "look")],
)
def test_another_worker_begins_the_deployment_again(
    bench: Bench, app: App, fake: str, call: str
) -> None:
    first = bench.deploy(app)
    second = bench.push(app)
    left = run_and_leave(bench, second, fake, call)
    assert (left.state, left.attempts, left.reason) == (DeploymentState.QUEUED, 0, "")
    assert (bench.containers_of(second), bench.steps(second), bench.leases()) == ([], {}, [])
    assert bench.serving(app) == bench.container_of(first.id or 0)
    assert bench.runtime.queue.waiting() == {second}
    assert "the worker must stop" in bench.log(second)

    done = bench.run(second)
    assert (done.state, done.attempts) == (DeploymentState.SUCCESS, 1)
    assert bench.serving(app) == bench.container_of(second)
    assert set(bench.steps(second)) == set(StepName)


def test_a_long_build_is_cut(bench: Bench, app: App) -> None:
    bench.world.engine.build_takes_s = 60
    left = run_and_leave(bench, bench.push(app), "engine", "build")
    assert left.state is DeploymentState.QUEUED


def test_the_release_of_a_handed_over_deployment_does_not_count(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    run_and_leave(bench, deployment, "probe", "look")
    with bench.reading() as session:
        assert session.exec(select(Release)).all() == []
    bench.run(deployment)
    with bench.reading() as session:
        (release,) = restorable_releases(session, bench.fresh(app))
    assert release.id == bench.deployment(deployment).release_id


def test_a_rollback_still_knows_where_to(bench: Bench, app: App) -> None:
    release = bench.deploy(app).release_id
    bench.deploy(app)
    with bench.writing() as session:
        back = roll_back(session, session.get_one(App, app.id), None, TESTER).id or 0
    run_and_leave(bench, back, "probe", "look")
    done = bench.run(back)
    assert (done.state, done.release_id) == (DeploymentState.SUCCESS, release)


def test_a_deployment_is_not_given_up_however_often_workers_stop(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    for _ in range(4):
        run_and_leave(bench, deployment, "probe", "look")
    assert bench.run(deployment).state is DeploymentState.SUCCESS


def test_a_deployment_that_has_begun_to_switch_is_finished(bench: Bench, app: App) -> None:
    first = bench.deploy(app)
    leaving = threading.Event()

    def leave(_about: str) -> None:
        leaving.set()
        time.sleep(2 * STOP_SEEN_WITHIN_S)

    bench.world.router.on("switch", leave)
    second = bench.push(app)
    done = bench.run(second, is_leaving=leaving.is_set)
    assert done.state is DeploymentState.SUCCESS
    assert bench.steps(second)[StepName.RETIRE] is StepState.SUCCESS
    assert bench.running_of(first.id or 0) == []


def test_a_deployment_cancelled_at_the_same_moment_ends_cancelled(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.engine.on("stop", lambda _: bench.cancel(deployment))
    left = run_and_leave(bench, deployment, "probe", "look")
    assert (left.state, left.reason) == (DeploymentState.CANCELLED, "cancelled by user:ada")
    assert bench.leases() == []
