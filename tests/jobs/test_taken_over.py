"""A worker whose app was taken over: whatever it is at, it touches and writes nothing more."""

import pytest
from sqlmodel import select

from jobs.errors import DockerError, KeystoneError, RouterError
from jobs.records.leases import take_over
from jobs.states import DeploymentState
from jobs.storage.models import App, Lease
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(health_path="/health", health_timeout_s=1)


def steal_app(bench: Bench) -> None:
    with bench.writing() as session:
        # In one stroke: between two its holder might renew it.
        for lease in session.exec(select(Lease)).all():
            take_over(session, lease, "watcher")


@pytest.mark.parametrize(
    ("fake", "call"),
    [("source", "fetch"), ("engine", "build"), ("engine", "start"), ("probe", "look")],
)
def test_a_worker_that_lost_its_lease_changes_nothing_more(
    bench: Bench, app: App, fake: str, call: str
) -> None:
    bench.deploy(app)
    route = bench.world.router.current[app.host_port]
    second = bench.push(app)

    def steal(_about: str) -> None:
        getattr(bench.world, fake).heal()
        steal_app(bench)
        bench.world.journal.clear()

    getattr(bench.world, fake).on(call, steal)
    done = bench.run(second)
    assert done.state is DeploymentState.RUNNING
    assert bench.world.calls("switch", "stop", "close", "detach", "keep_running") == []
    assert bench.world.router.current[app.host_port] == route
    assert [lease.holder for lease in bench.leases()] == ["watcher"]


@pytest.mark.parametrize("error", [None, RouterError("the router does not answer")])
def test_during_the_switch_the_route_is_left_to_the_new_holder(
    bench: Bench, app: App, error: KeystoneError | None
) -> None:
    bench.deploy(app)
    second = bench.push(app)

    def steal(about: str) -> None:
        bench.world.router.heal()
        steal_app(bench)
        bench.world.journal.clear()
        if error:
            raise error

    bench.world.router.on("switch", steal)
    assert bench.run(second).state is DeploymentState.RUNNING
    assert bench.world.calls("switch", "close", "stop") == []


def test_a_paused_worker_that_failed_does_not_remove_the_next_ones_container(
    bench: Bench, app: App
) -> None:
    second = bench.push(app)

    def steal_and_fail(_about: str) -> None:
        steal_app(bench)
        bench.world.journal.clear()
        raise DockerError("the engine went away")

    bench.world.probe.on("look", steal_and_fail)
    assert bench.run(second).state is DeploymentState.RUNNING
    assert bench.world.calls("stop") == []


def test_a_worker_that_wakes_up_in_retire_does_not_switch_again(bench: Bench, app: App) -> None:
    bench.deploy(app)
    before = bench.world.router.current[app.host_port]
    second = bench.push(app)

    def steal(_about: str) -> None:
        steal_app(bench)
        bench.world.router.current[app.host_port] = before  # as the next one has led it
        bench.world.journal.clear()

    bench.world.engine.on("keep_running", steal)
    assert bench.run(second).state is DeploymentState.SUCCESS
    assert bench.world.calls("switch", "detach", "stop") == []
    assert bench.world.router.current[app.host_port] == before


def test_in_retire_the_old_container_is_left_alone(bench: Bench, app: App) -> None:
    first = bench.deploy(app)
    second = bench.push(app)
    bench.world.router.on("in_flight", lambda _: steal_app(bench))
    assert bench.run(second).state is DeploymentState.SUCCESS
    assert len(bench.containers_of(first.id or 0)) == 1
