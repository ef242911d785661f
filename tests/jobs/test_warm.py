"""Warm containers: kept running after a switch, asked for old assets, and ready for a rollback."""

from datetime import timedelta

import pytest

from jobs.duties.warm import FINISHED_WITHIN
from jobs.records.deployments import cancel
from jobs.records.rollbacks import roll_back
from jobs.rules.container_values import Warm
from jobs.states import ContainerState, DeploymentState, Restart, StepName
from jobs.storage.models import App, Deployment, now
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench, kill

PATHS = frozenset({"/assets/*"})


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(asset_paths=["/assets/*"], warm_minutes=10, drain_timeout_s=1)


def ids(*deployments: Deployment) -> list[int]:
    return [row.id or 0 for row in deployments]


def later(bench: Bench, app: App, minutes: float) -> None:
    """Have that much time pass for the app's trial and its warm container, and the watcher look."""
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        gone = timedelta(minutes=minutes)
        row.warm_until = row.warm_until and row.warm_until - gone
        row.trial_ends_at = row.trial_ends_at and row.trial_ends_at - gone
    for _ in range(3):
        bench.reconcile()


def ask_back(bench: Bench, app: App, number: int | None = None) -> int:
    with bench.writing() as session:
        return roll_back(session, app, number, TESTER).id or 0


def warm(bench: Bench, app: App, deployment: int, live_slot: str) -> Warm:
    container = bench.world.engine.all_containers[bench.container_of(deployment)]
    address = f"{container.about.ip}:{container.spec.settings.port}"
    return Warm(app.host_port, live_slot, address, PATHS)


class TestKeeping:
    def test_the_replaced_container_runs_on_and_is_asked_for_old_assets(
        self, bench: Bench, app: App
    ) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        assert bench.running_of(first) == [bench.container_of(first)]
        assert bench.serving(app) == bench.container_of(second)
        assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, first, "b")}
        assert "is kept warm for 10 min" in bench.log(second)
        old = bench.world.engine.all_containers[bench.container_of(first)]
        assert old.about.restart == Restart.NEVER.value

    def test_the_router_knows_before_the_switch(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        bench.deploy(app)
        calls = [call.split()[0] for call in bench.world.calls("warm", "switch")]
        assert calls[1:3] == ["warm", "switch"]

    def test_the_watcher_leaves_it_alone_until_its_time_is_over(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        later(bench, app, 9)
        assert bench.fresh(app).trial_ends_at is None
        assert bench.running_of(first)
        assert bench.world.router.kept_warm
        later(bench, app, 2)
        assert bench.containers_of(first) == []
        assert bench.world.router.kept_warm == {}
        settled = bench.fresh(app)
        assert (settled.warm_until, settled.fallback_container_id) == (None, None)

    def test_within_the_trial_it_is_stopped_and_kept(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        with bench.writing() as session:
            session.get_one(App, app.id).warm_until = now() - FINISHED_WITHIN
        for _ in range(3):
            bench.reconcile()
        assert bench.running_of(first) == []
        assert bench.fresh(app).fallback_container_id == bench.container_of(first)

    def test_its_requests_finish_before_it_ends(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        later(bench, app, 10)
        assert bench.world.router.kept_warm == {}
        assert bench.running_of(first)
        later(bench, app, 1)
        assert bench.containers_of(first) == []

    def test_there_is_one_at_most(self, bench: Bench, app: App) -> None:
        first, second, third = ids(*(bench.deploy(app) for _ in range(3)))
        assert bench.containers_of(first) == []
        assert bench.running_of(second)
        assert bench.running_of(third)
        assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, second, "a")}

    def test_the_replaced_release_decides(self, bench: Bench) -> None:
        app = bench.app()
        first = bench.deploy(app).id or 0
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            row.container = row.container.model_copy(update={"warm_minutes": 10})
        second = bench.deploy(app).id or 0
        assert bench.running_of(first) == []
        bench.deploy(app)
        assert bench.running_of(second)

    def test_without_asset_paths_the_router_is_not_told(self, bench: Bench) -> None:
        app = bench.app(warm_minutes=10)
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        bench.reconcile()
        assert bench.running_of(first)
        assert bench.world.calls("warm", "cool") == []

    def test_one_that_died_is_warm_no_longer(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        bench.pass_trial(app)
        bench.world.engine.crash(bench.container_of(first), ContainerState.EXITED)
        for _ in range(3):
            bench.reconcile()
        assert bench.fresh(app).warm_until is None
        assert bench.world.router.kept_warm == {}
        assert bench.containers_of(first) == []

    def test_a_release_that_did_not_stay_up_is_not_kept(self, bench: Bench, app: App) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        bench.world.engine.crash(bench.container_of(second), ContainerState.RESTARTING)
        with bench.writing() as session:
            session.get_one(App, app.id).live_ends = 1
        third = bench.deploy(app).id or 0
        assert bench.running_of(second) == []
        assert bench.running_of(third)
        # The first one stays the way back, but its slot in the router is taken.
        assert bench.fresh(app).fallback_container_id == bench.container_of(first)
        assert bench.running_of(first) == []
        assert bench.world.router.kept_warm == {}

    def test_it_goes_with_its_app(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app).id or 0
        second = bench.deploy(app).id or 0
        with bench.writing() as session:
            session.delete(session.get_one(App, app.id))
        for _ in range(2):
            bench.reconcile()
        assert bench.containers_of(first) == bench.containers_of(second) == []
        assert bench.world.router.kept_warm == {}

    def test_what_does_not_end_is_cut_and_the_container_runs_on(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app).id or 0
        bench.world.router.flying[app.host_port, "a"] = 10**6
        second = bench.deploy(app).id or 0
        assert bench.world.calls("detach") == [f"detach {app.host_port}/a"]
        assert "did not end within 1 s and are cut" in bench.log(second)
        assert bench.running_of(first)
        assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, first, "b")}

    def test_a_rollback_does_not_wait_for_requests_that_the_warm_container_still_serves(
        self, bench: Bench
    ) -> None:
        app = bench.app(warm_minutes=10, drain_timeout_s=3600)
        first, queued = bench.deploy(app).id or 0, bench.push(app)
        bench.world.router.flying[app.host_port, "a"] = 10**9
        asked: list[int] = []

        def ask(_about: str) -> None:
            if not asked:
                asked.append(ask_back(bench, app))

        bench.world.router.on("in_flight", ask)
        bench.run(queued)
        assert bench.world.calls("detach") == []
        assert bench.run(asked[0]).state is DeploymentState.SUCCESS
        assert bench.serving(app) == bench.container_of(first)


class TestRollback:
    def test_it_takes_the_warm_container_without_a_start(self, bench: Bench, app: App) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        kept, replaced = bench.container_of(first), bench.container_of(second)
        bench.world.journal.clear()
        third = bench.run(ask_back(bench, app))
        assert third.state is DeploymentState.SUCCESS
        assert bench.world.calls("start", "start_again", "build") == []
        assert bench.serving(app) == kept
        assert "without a start" in bench.log(third.id or 0)
        # It is still health-checked, and the replaced one is warm in turn.
        assert StepName.HEALTH_CHECK in bench.steps(third.id or 0)
        assert bench.world.calls("look")
        assert bench.running_of(second) == [replaced]
        assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, second, "a")}
        restart = bench.world.engine.all_containers[kept].about.restart
        assert restart == Restart.ALWAYS.value

    def test_there_and_back_again(self, bench: Bench, app: App) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        for number in (1, 2, 1, 2):
            bench.run(ask_back(bench, app, number))
            bench.reconcile()
        assert bench.serving(app) == bench.container_of(second)
        assert bench.running_of(first)
        assert len(bench.world.calls("start")) == 2

    def test_restarts_from_before_are_not_counted_in_its_trial(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        container = bench.world.engine.all_containers[bench.container_of(first)]
        container.about = container.about.__class__(**{**vars(container.about), "restarts": 7})
        done = bench.run(ask_back(bench, app))
        bench.reconcile()
        assert bench.deployment(done.id or 0).state is DeploymentState.SUCCESS
        assert bench.fresh(app).live_ends == 0

    def test_to_another_release_a_new_container_is_started(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        second = bench.deploy(app).id or 0
        bench.deploy(app)
        bench.world.journal.clear()
        done = bench.run(ask_back(bench, app, 1))
        assert len(bench.world.calls("start")) == 1
        assert done.state is DeploymentState.SUCCESS
        assert bench.containers_of(second) == []

    @pytest.mark.parametrize("trouble", ["unhealthy", "exited", "missing"])
    def test_a_warm_container_in_trouble_is_replaced_by_a_new_one(
        self, bench: Bench, app: App, trouble: str
    ) -> None:
        first = bench.deploy(app).id or 0
        bench.deploy(app)
        kept = bench.container_of(first)
        if trouble == "unhealthy":
            bench.world.engine.all_containers[kept].behaviour = Behaviour(unhealthy=True)
        else:
            bench.world.engine.crash(kept, ContainerState(trouble))
        done = bench.run(ask_back(bench, app))
        assert done.state is DeploymentState.SUCCESS, done.reason
        assert bench.serving(app) == bench.container_of(done.id or 0)
        assert "a new one is started" in bench.log(done.id or 0)
        bench.reconcile()
        assert bench.containers_of(first) == []

    def test_one_that_fails_at_the_switch_leaves_everything_as_it_was(
        self, bench: Bench, app: App
    ) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        wanted = ask_back(bench, app)

        def stop(_about: str) -> None:
            with bench.writing() as session:
                cancel(session, session.get_one(Deployment, wanted), TESTER)

        bench.world.router.on("switch", stop)
        done = bench.run(wanted)
        bench.world.router.heal()
        assert done.state is DeploymentState.CANCELLED
        for _ in range(2):
            bench.reconcile()
        assert bench.serving(app) == bench.container_of(second)
        assert bench.running_of(first)
        assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, first, "b")}

    def test_a_recovery_takes_it_too(self, bench: Bench, app: App) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        with bench.writing() as session:
            session.get_one(App, app.id).live_ends = 1
        bench.world.engine.crash(bench.container_of(second), ContainerState.RESTARTING)
        container = bench.world.engine.all_containers[bench.container_of(second)]
        container.about = container.about.__class__(**{**vars(container.about), "restarts": 5})
        bench.reconcile()
        bench.world.journal.clear()
        with bench.reading() as session:
            recovery = session.get_one(App, app.id).last_deployment
        assert recovery == 3
        bench.run(3)
        assert bench.serving(app) == bench.container_of(first)
        assert bench.world.calls("start") == []
        assert bench.running_of(second) == []


CALLS = ["inspect", "look", "warm", "switch", "routes", "keep_running", "in_flight"]


class TestKilled:
    @pytest.mark.parametrize("call", CALLS)
    def test_a_deployment(self, bench: Bench, app: App, call: str) -> None:
        """Whenever the worker dies, there is a serving container, and at most one warm one."""
        first = bench.deploy(app).id or 0
        act_on(bench, call)
        second = bench.push(app)
        bench.run_and_die(second)
        self.settle(bench)
        if bench.deployment(second).state is DeploymentState.SUCCESS:
            assert bench.serving(app) == bench.container_of(second)
            assert bench.running_of(first)
            assert bench.world.router.kept_warm == {app.host_port: warm(bench, app, first, "b")}
            assert bench.fresh(app).fallback_container_id == bench.container_of(first)
        else:
            assert bench.serving(app) == bench.container_of(first)
            assert bench.containers_of(second) == []
            assert bench.world.router.kept_warm == {}
        assert bench.leases() == []

    @pytest.mark.parametrize("call", CALLS)
    def test_a_rollback(self, bench: Bench, app: App, call: str) -> None:
        first, second = ids(bench.deploy(app), bench.deploy(app))
        wanted = ask_back(bench, app)
        act_on(bench, call)
        bench.run_and_die(wanted)
        self.settle(bench)
        one, two = bench.container_of(first), bench.container_of(second)
        assert bench.running_of(first) == [one]
        assert bench.running_of(second) == [two]
        has_succeeded = bench.deployment(wanted).state is DeploymentState.SUCCESS
        assert bench.serving(app) == (one if has_succeeded else two)
        kept = warm(bench, app, second, "a") if has_succeeded else warm(bench, app, first, "b")
        assert bench.world.router.kept_warm == {app.host_port: kept}
        assert bench.leases() == []
        later(bench, app, 11)
        assert bench.containers_of(second if has_succeeded else first) == []

    @staticmethod
    def settle(bench: Bench) -> None:
        for _ in range(3):
            bench.reconcile()
            bench.expire_leases()


def act_on(bench: Bench, call: str) -> None:
    for fake in (bench.world.engine, bench.world.router, bench.world.probe):
        fake.on(call, kill)


def test_a_restarted_router_is_told_again(bench: Bench, app: App) -> None:
    bench.deploy(app)
    bench.deploy(app)
    kept = dict(bench.world.router.kept_warm)
    bench.world.router.kept_warm.clear()
    bench.world.router.kept_warm[20999] = Warm(20999, "a", "10.0.0.1:80", PATHS)
    bench.reconcile()
    assert bench.world.router.kept_warm == kept
