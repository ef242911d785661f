"""Putting right what a crash left behind."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import Session

from jobs.errors import DockerError, RouterError
from jobs.reads.apps import app_view
from jobs.records.apps import remove_app
from jobs.records.engine_items import note_making
from jobs.records.rollbacks import roll_back
from jobs.rules.container_values import Route
from jobs.rules.naming import labels, network_name
from jobs.states import AppState, ContainerState, DeploymentState, Lane, StepName, StepState
from jobs.storage.models import App, Deployment, now
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench, kill


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(health_timeout_s=1)


def age(session: Session, deployment_id: int) -> None:
    session.get_one(Deployment, deployment_id).queued_at = now() - timedelta(minutes=1)


def kill_after_the_switch(about: str) -> None:
    """End the worker when it looks whether the new container answers through the router."""
    if about.startswith("127.0.0.1"):
        kill(about)


WHERE = [
    ("source", "fetch", StepName.CHECKOUT),
    ("engine", "build", StepName.BUILD),
    ("engine", "start", StepName.START),
    ("probe", "look", StepName.HEALTH_CHECK),
    ("router", "switch", StepName.SWITCH),
]


class TestAKilledWorker:
    @pytest.mark.parametrize(("fake", "call", "step"), WHERE)
    def test_the_deployment_is_repeated_or_ends_and_the_old_release_serves(
        self, bench: Bench, app: App, fake: str, call: str, step: StepName
    ) -> None:
        first = bench.deploy(app)
        route = bench.world.router.current[app.host_port]
        second = bench.push(app)
        getattr(bench.world, fake).on(call, kill)
        bench.run_and_die(second)
        assert bench.deployment(second).state is DeploymentState.RUNNING

        bench.reconcile()

        found = bench.deployment(second)
        if step in {StepName.CHECKOUT, StepName.BUILD}:
            assert found.state is DeploymentState.QUEUED
            assert bench.run(second).state is DeploymentState.SUCCESS
            assert "checkout | begun again: the worker was killed" in bench.log(second)
        else:
            assert found.state is DeploymentState.ERROR
            assert f"killed in {step}" in found.reason
            assert bench.steps(second)[step] is StepState.ERROR
            assert bench.world.router.current[app.host_port] == route
            assert bench.serving(app) == bench.container_of(first.id or 0)
            assert bench.containers_of(second) == []
        assert bench.leases() == []

    def test_a_step_is_repeated_once_and_no_more(self, bench: Bench, app: App) -> None:
        deployment = bench.push(app)
        for expected in (DeploymentState.QUEUED, DeploymentState.ERROR):
            bench.world.engine.on("build", kill)
            bench.run_and_die(deployment)
            bench.reconcile()
            assert bench.deployment(deployment).state is expected

    def test_traffic_moves_back_before_the_new_container_is_removed(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app)
        second = bench.push(app)

        bench.world.probe.on("look", kill_after_the_switch)
        bench.run_and_die(second)
        new = bench.container_of(second)
        assert bench.serving(app) == new
        bench.world.journal.clear()
        bench.reconcile()
        assert bench.serving(app) == bench.container_of(first.id or 0)
        switched, *_, stopped = bench.world.calls("switch", "stop")
        assert switched.startswith("switch")
        assert stopped == f"stop {new}"

    def test_requests_of_the_new_container_end_before_it_is_removed(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        second = bench.push(app)

        bench.world.probe.on("look", kill_after_the_switch)
        bench.run_and_die(second)
        port, new = app.host_port, bench.container_of(second)
        bench.world.router.flying[port, "b"] = 1
        bench.world.journal.clear()
        bench.reconcile()
        assert bench.world.calls("in_flight", "detach", "stop")[:4] == [
            *[f"in_flight {port}/b"] * 2,
            f"detach {port}/b",
            f"stop {new}",
        ]

    def test_the_deployment_ends_even_if_the_router_lacks_the_apps_port(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        second = bench.push(app)
        bench.world.engine.on("start", kill)
        bench.run_and_die(second)
        bench.world.router.current.clear()
        bench.world.router.ports = ()
        bench.reconcile()
        assert bench.deployment(second).state is DeploymentState.ERROR
        assert bench.leases() == []

    def test_after_success_the_retirement_is_finished(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app)
        second = bench.push(app)
        bench.world.router.on("in_flight", kill)
        bench.run_and_die(second)
        # As a real kill leaves it: with the lease that nobody gave back.
        bench.reconcile()
        assert bench.deployment(second).state is DeploymentState.SUCCESS
        assert bench.serving(app) == bench.container_of(second)
        assert bench.running_of(first.id or 0) == []
        assert bench.steps(second)[StepName.RETIRE] is not StepState.RUNNING
        bench.pass_trial(app)
        assert bench.containers_of(first.id or 0) == []
        assert bench.leases() == []

    def test_a_deployment_with_a_cancel_request_ends_cancelled(
        self, bench: Bench, app: App
    ) -> None:
        deployment = bench.push(app)

        def cancel_and_die(about: str) -> None:
            bench.cancel(deployment)
            kill(about)

        bench.world.engine.on("build", cancel_and_die)
        bench.run_and_die(deployment)
        bench.reconcile()
        found = bench.deployment(deployment)
        assert (found.state, found.reason) == (
            DeploymentState.CANCELLED,
            "cancelled by user:ada",
        )

    def test_a_deployment_killed_before_its_first_step_is_repeated(
        self, bench: Bench, app: App
    ) -> None:
        deployment = bench.push(app)
        bench.world.source.on("fetch", kill)
        bench.run_and_die(deployment)
        bench.reconcile()
        assert bench.deployment(deployment).state is DeploymentState.QUEUED

    def test_a_live_lease_is_left_alone(self, bench: Bench, app: App) -> None:
        deployment = bench.push(app)
        seen = []

        def look(_about: str) -> None:
            bench.reconcile()
            seen.append(bench.deployment(deployment).state)

        bench.world.engine.on("build", look)
        assert bench.run(deployment).state is DeploymentState.SUCCESS
        assert seen == [DeploymentState.RUNNING]

    def test_recovery_is_tried_again_later_while_the_engine_is_down(
        self, bench: Bench, app: App
    ) -> None:
        deployment = bench.push(app)
        bench.world.engine.on("start", kill)
        bench.run_and_die(deployment)
        bench.world.engine.down = True
        bench.reconcile()
        assert bench.deployment(deployment).state is DeploymentState.RUNNING
        bench.world.engine.down = False
        bench.reconcile()
        assert bench.deployment(deployment).state is DeploymentState.ERROR

    def test_a_container_that_cannot_be_removed_does_not_keep_the_lease(
        self, bench: Bench, app: App
    ) -> None:
        deployment = bench.push(app)
        bench.world.probe.on("look", kill)
        bench.run_and_die(deployment)
        bench.world.engine.fail("stop", DockerError("the container could not be removed"))
        bench.reconcile()
        assert bench.deployment(deployment).state is DeploymentState.ERROR
        assert bench.leases() == []
        bench.world.engine.heal()
        bench.reconcile()
        assert bench.containers_of(deployment) == []

    def test_a_deployment_that_cannot_be_recovered_does_not_block_the_others(
        self, bench: Bench, app: App
    ) -> None:
        other = bench.app("other")
        bench.world.source.on("fetch", kill)
        ids = [bench.ask(app), bench.ask(other)]
        bench.commit()
        for deployment in ids:
            bench.world.source.on("fetch", kill)
            bench.run_and_die(deployment)
        calls = iter(range(100))

        def fail_once(_about: str) -> None:
            if next(calls) == 0:
                raise RouterError("just this once")

        bench.world.router.on("routes", fail_once)
        bench.reconcile()
        states = [bench.deployment(deployment).state for deployment in ids]
        assert sorted(states) == [DeploymentState.QUEUED, DeploymentState.RUNNING]


class TestForgottenOnes:
    def test_each_app_is_woken_once(self, bench: Bench, app: App) -> None:
        other = bench.app("other")
        ids = [bench.ask(app), bench.ask(app), bench.ask(other)]
        with bench.writing() as session:
            for deployment in ids:
                age(session, deployment)
        bench.reconcile()
        assert bench.runtime.queue.waiting() == {ids[0], ids[2]}

    def test_an_app_that_has_a_wake_up_waiting_needs_no_other(self, bench: Bench, app: App) -> None:
        ids = [bench.ask(app), bench.ask(app)]
        bench.runtime.queue.wake([ids[1]])
        with bench.writing() as session:
            for deployment in ids:
                age(session, deployment)
        bench.reconcile()
        assert bench.runtime.queue.waiting() == {ids[1]}

    def test_a_rollback_is_woken_in_its_lane_whatever_waits_in_the_other(
        self, bench: Bench, app: App
    ) -> None:
        first, _ = bench.deploy(app), bench.deploy(app)
        with bench.writing() as session:
            back = roll_back(session, session.get_one(App, app.id), 1, TESTER).id or 0
        later = bench.ask(app)
        # Its own wake-up was lost, and the one of the build may wait there for long.
        bench.runtime.queue.wake([back, later])
        with bench.writing() as session:
            for deployment in (back, later):
                age(session, deployment)
        for _ in range(2):
            bench.reconcile()
            assert bench.runtime.queue.waiting([Lane.QUICK]) == {back}
        assert bench.runtime.queue.waiting([Lane.BUILD]) == {back, later}
        assert bench.run(back).release_id == first.release_id

    def test_new_deployments_are_not_woken_again(
        self, bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # And not 3 s: so old one may be on a busy machine before anybody looks.
        monkeypatch.setattr("jobs.duties.reconcile.FORGOTTEN_AFTER", timedelta(hours=1))
        bench.ask(app)
        bench.reconcile()
        assert bench.runtime.queue.waiting() == set()

    def test_deployments_behind_a_running_one_are_not_woken(self, bench: Bench, app: App) -> None:
        first, second = bench.ask(app), bench.ask(app)
        bench.commit()
        with bench.writing() as session:
            age(session, second)
        woken = []

        def look(_about: str) -> None:
            bench.reconcile()
            woken.append(bench.runtime.queue.waiting())

        bench.world.engine.on("build", look)
        bench.run(first)
        assert woken == [set()]

    def test_a_redis_that_holds_nonsense_stops_no_part(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        bench.world.router.current.clear()
        redis = bench.runtime.bus._redis
        redis.rpush(f"rq:queue:{bench.runtime.queue.name()}", "evil")
        bench.reconcile()
        assert bench.serving(app)


class TestTheSweep:
    def test_what_others_run_is_never_touched(self, bench: Bench, app: App) -> None:
        engine = bench.world.engine
        foreign = engine.add_container("nginx", {})
        other = engine.add_container("keystone-other-web-1", labels("otherx", "web", 1))
        orphan = bench.leave(app.name, 99)
        bench.deploy(app)
        bench.reconcile()
        assert foreign in engine.all_containers
        assert other in engine.all_containers
        assert orphan not in engine.all_containers

    def test_the_live_container_stays_even_if_it_has_exited(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        container = bench.container_of(done.id or 0)
        bench.world.engine.crash(container, ContainerState.EXITED)
        bench.reconcile()
        assert bench.containers_of(done.id or 0) == [container]

    def test_leftovers_of_a_removed_app_are_removed(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        kept = bench.app("kept")
        bench.run(bench.ask(kept))
        with bench.writing() as session:
            remove_app(session, session.get_one(App, app.id), TESTER)
        bench.reconcile()
        engine = bench.world.engine
        assert {c.labels["keystone.app"] for c in engine.containers()} == {"kept"}
        assert {image.labels["keystone.app"] for image in engine.images()} == {"kept"}
        assert set(engine.all_networks) == {f"keystone-{bench.runtime.identity}-kept"}
        assert set(bench.world.router.current) == {kept.host_port}

    def test_a_network_that_is_all_that_a_removed_app_left_is_removed(self, bench: Bench) -> None:
        identity, engine = bench.runtime.identity, bench.world.engine
        engine.ensure_network(network_name(identity, "gone"), labels(identity, "gone"))
        with bench.writing() as session:
            note_making(session, identity, "gone", "keystone-gone-1")
        bench.reconcile()
        assert engine.all_networks == {}

    def test_objects_made_during_a_sweep_are_never_taken_for_leftovers(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        engine = bench.world.engine
        bench.leave(app.name, 99)

        def somebody_adds_an_app(_container: str) -> None:
            engine.heal()
            bench.run(bench.ask(bench.app("newcomer")))

        engine.on("stop", somebody_adds_an_app)
        bench.reconcile()
        assert {image.labels["keystone.app"] for image in engine.images()} == {"web", "newcomer"}
        assert network_name(bench.runtime.identity, "newcomer") in engine.all_networks


class TestRoutes:
    def test_lost_routes_are_restored(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        route = bench.world.router.current.pop(app.host_port)
        bench.reconcile()
        assert bench.world.router.current == {app.host_port: route}

    def test_correct_routes_stay_unchanged(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        bench.world.journal.clear()
        bench.reconcile()
        assert bench.world.calls("switch", "close") == []

    def test_wrong_routes_are_corrected_and_unknown_routes_closed(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        router = bench.world.router
        route = router.current[app.host_port]
        router.current[app.host_port] = replace(route, address="10.201.9.9:80")
        router.current[20500] = Route(20500, "a", "10.201.9.9:80")
        bench.reconcile()
        assert router.current == {app.host_port: route}

    def test_a_port_that_another_program_has_keeps_no_other_from_being_served(
        self, bench: Bench, app: App
    ) -> None:
        other = bench.app("other")
        bench.deploy(app)
        bench.run(bench.ask(other))
        router = bench.world.router
        route = router.current[other.host_port]
        router.current.clear()
        router.ports = (other.host_port,)
        bench.reconcile()
        assert router.current == {other.host_port: route}

    def test_a_worker_at_the_switch_is_not_disturbed(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        second = bench.push(app)

        def look(about: str) -> None:
            if about.startswith("127.0.0.1"):
                bench.reconcile()

        bench.world.probe.on("look", look)
        assert bench.run(second).state is DeploymentState.SUCCESS
        assert len(bench.world.calls("switch")) == 2

    @pytest.mark.parametrize("is_first", [True, False])
    def test_a_switch_after_the_routes_were_read_is_not_undone(
        self, bench: Bench, app: App, *, is_first: bool
    ) -> None:
        if not is_first:
            bench.deploy(app)

        def be_faster(_about: str) -> None:
            bench.world.router.heal()
            bench.deploy(app)

        bench.world.router.on("routes", be_faster)
        bench.reconcile()
        live = bench.fresh(app).live_container_id
        assert live is not None
        assert bench.serving(app) == live

    def test_a_router_that_is_down_holds_up_no_other_part(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        bench.world.router.fail("routes", RouterError("the router does not answer"))
        bench.world.engine.crash(bench.container_of(done.id or 0), ContainerState.EXITED)
        bench.reconcile()
        assert bench.fresh(app).container_state is ContainerState.EXITED


class TestLiveContainers:
    @pytest.mark.parametrize(
        ("state", "app_state", "reason"),
        [
            (ContainerState.EXITED, AppState.STOPPED, "its container exited with code 3"),
            (ContainerState.RESTARTING, AppState.FAILING, "its container exited with code 3"),
            (ContainerState.MISSING, AppState.STOPPED, "its container does not exist any more"),
        ],
    )
    def test_what_docker_says_is_noted_and_recovered_from(
        self, bench: Bench, app: App, state: ContainerState, app_state: AppState, reason: str
    ) -> None:
        done = bench.deploy(app)
        container = bench.container_of(done.id or 0)
        engine = bench.world.engine
        before = engine.all_containers[container]
        engine.crash(container, state, exit_code=3)
        bench.reconcile()
        self._expect(bench, app_state, reason)

        before.about = replace(before.about, state=ContainerState.RUNNING, exit_code=None)
        engine.all_containers[container] = before
        bench.reconcile()
        self._expect(bench, AppState.RUNNING, "")

    def _expect(self, bench: Bench, state: AppState, reason: str) -> None:
        with bench.reading() as session:
            view = app_view(session, "web", bench.runtime.settings)
        assert view.state is state
        assert view.state_reason.startswith(reason)
        assert bool(view.state_reason) is bool(reason)

    def test_a_failed_deployment_does_not_touch_the_live_ones_state(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        bench.world.engine.behaviour = Behaviour(exits=1)
        bench.run(bench.push(app))
        bench.reconcile()
        assert bench.fresh(app).container_state is ContainerState.RUNNING
