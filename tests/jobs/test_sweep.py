"""What nothing owns goes from the engine; what still serves somebody is given its time."""

from datetime import timedelta

import pytest

from jobs.models import App, Deployment, now
from jobs.states import DeploymentState
from tests.jobs.bench import Bench, kill


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture
def old(bench: Bench, app: App) -> str:
    """The container of a release that was replaced by one whose worker died before it was ended."""
    first = bench.deploy(app)
    second = bench.push(app)
    slot = bench.world.router.current[app.host_port].slot
    bench.world.router.on("in_flight", kill)
    bench.run_and_die(second)
    bench.world.router.flying[app.host_port, slot] = 2
    assert bench.deployment(second).state is DeploymentState.SUCCESS
    return bench.container_of(first.id or 0)


class TestAnOldReleaseWhoseWorkerDied:
    def test_it_ends_once_its_last_request_is_answered(self, bench: Bench, old: str) -> None:
        for _ in range(2):
            bench.reconcile()
            assert old in bench.world.engine.all_containers
        bench.world.journal.clear()
        bench.reconcile()
        assert old not in bench.world.engine.all_containers
        released, stopped = bench.world.calls("release", "stop")
        assert (released.split()[0], stopped) == ("release", f"stop {old}")

    def test_it_ends_when_its_time_is_over(self, bench: Bench, app: App, old: str) -> None:
        with bench.writing() as session:
            live = session.get_one(Deployment, bench.fresh(app).live_deployment_id)
            live.ended_at = now() - timedelta(seconds=app.drain_timeout_s + 1)
        bench.reconcile()
        assert old not in bench.world.engine.all_containers

    def test_it_has_the_grace_that_the_app_asks_for(self, bench: Bench, app: App, old: str) -> None:
        with bench.writing() as session:
            session.get_one(App, app.id).stop_grace_s = 77
        bench.world.router.flying.clear()
        bench.reconcile()
        assert bench.world.engine.graces[old] == 77


class TestImages:
    def tags(self, bench: Bench) -> set[str]:
        return {tag for image in bench.world.engine.images() for tag in image.tags}

    def test_one_that_no_release_came_of_goes_when_the_app_is_idle(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        kept = self.tags(bench)
        second = bench.push(app)
        bench.world.engine.on("start", kill)
        bench.run_and_die(second)
        assert len(self.tags(bench)) == 2
        waiting = bench.ask(app)
        bench.reconcile()
        assert bench.deployment(second).state is DeploymentState.ERROR
        assert len(self.tags(bench)) == 2, "the one that waits may need it"
        bench.cancel(waiting)
        bench.reconcile()
        assert self.tags(bench) == kept

    def test_those_that_a_rollback_needs_stay(self, bench: Bench, app: App) -> None:
        for _ in range(3):
            bench.deploy(app)
        before = self.tags(bench)
        bench.reconcile()
        assert self.tags(bench) == before
        assert len(before) == 3
