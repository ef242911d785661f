"""The story of a deployment with the world in memory: each way it can end."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from jobs.dispatch import dispatch
from jobs.errors import (
    BuildError,
    CheckoutError,
    DockerError,
    GitError,
    KeystoneError,
    RouterError,
)
from jobs.records.apps import remove_app
from jobs.records.variables import set_variables
from jobs.rules.redaction import MASK
from jobs.rules.variables import Variable
from jobs.states import DeploymentState, Kind, Restart, StepName, StepState
from jobs.storage.models import App
from tests.fakes import Behaviour, FakeWorld
from tests.jobs.bench import TESTER, Bench

EVERY_STEP = list(StepName)


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(health_path="/health", health_timeout_s=1)


class TestGoingWell:
    def test_a_push_becomes_a_container_that_serves(self, bench: Bench, app: App) -> None:
        done = bench.run(bench.push(app))
        assert (done.state, done.reason, done.kind) == (DeploymentState.SUCCESS, "", Kind.INITIAL)
        container = bench.container_of(done.id or 0)
        assert bench.serving(app) == container
        fresh = bench.fresh(app)
        assert (fresh.live_container_id, fresh.live_deployment_id) == (container, done.id)

    def test_every_step_is_on_record_with_its_times(self, bench: Bench, app: App) -> None:
        done = bench.run(bench.push(app))
        rows = bench.step_rows(done.id or 0)
        assert [row.name for row in rows] == EVERY_STEP
        assert {row.state for row in rows} == {StepState.SUCCESS}
        for row in rows:
            assert row.ended_at is not None
            assert row.started_at <= row.ended_at
        starts = [row.started_at for row in rows]
        assert starts == sorted(starts)

    def test_success_is_written_before_the_old_one_is_retired(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        second = bench.push(app)
        seen: list[DeploymentState] = []
        bench.world.router.on("in_flight", lambda _: seen.append(bench.deployment(second).state))
        bench.run(second)
        assert seen == [DeploymentState.SUCCESS]

    def test_the_lease_is_given_back(self, bench: Bench, app: App) -> None:
        bench.deploy(app)
        assert bench.leases() == []

    def test_a_second_release_takes_the_other_slot_and_the_first_ends(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app)
        second = bench.deploy(app)
        assert second.kind is Kind.UPDATE
        assert bench.running_of(first.id or 0) == []
        bench.pass_trial(app)
        assert bench.containers_of(first.id or 0) == []
        assert bench.serving(app) == bench.container_of(second.id or 0)
        assert bench.fresh(app).live_slot == "b"

    def test_the_live_container_is_restarted_by_the_engine(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        container = bench.world.engine.all_containers[bench.container_of(done.id or 0)]
        assert container.restart is Restart.ALWAYS

    def test_the_same_commit_again_is_not_built_again(self, bench: Bench, app: App) -> None:
        first = bench.deploy(app)
        again = bench.run(bench.ask(app, sha=first.commit_sha))
        assert bench.steps(again.id or 0)[StepName.BUILD] is StepState.SKIPPED
        assert again.state is DeploymentState.SUCCESS
        assert len(bench.world.calls("build")) == 1

    def test_a_branch_by_hand_becomes_the_commit_it_points_to(self, bench: Bench, app: App) -> None:
        sha = bench.commit("By hand\n\nwith a body")
        done = bench.run(bench.ask(app))
        assert (done.commit_sha, done.commit_message) == (sha, "By hand\n\nwith a body")

    def test_a_container_that_needs_a_few_looks_gets_them(self, bench: Bench) -> None:
        app = bench.app(health_path="/health", health_timeout_s=60)
        bench.world.engine.behaviour = Behaviour(healthy_after=3)
        assert bench.run(bench.push(app)).state is DeploymentState.SUCCESS

    def test_the_log_tells_the_story(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        log = bench.log(done.id or 0)
        assert f"commit {done.commit_sha} of main" in log
        assert "build | #1 COPY web /web" in log
        assert "healthy after" in log
        assert f"port {app.host_port} now leads to" in log

    def test_the_next_in_line_is_woken(self, bench: Bench, app: App) -> None:
        first, second = bench.ask(app), bench.ask(app)
        bench.commit()
        bench.run(first)
        assert bench.runtime.queue.waiting() == {second}


def breaks(fake: str, call: str, error: KeystoneError) -> Callable[[FakeWorld], None]:
    def arrange(world: FakeWorld) -> None:
        getattr(world, fake).fail(call, error)

    return arrange


def behaves(behaviour: Behaviour) -> Callable[[FakeWorld], None]:
    def arrange(world: FakeWorld) -> None:
        world.engine.behaviour = behaviour

    return arrange


FAILURES = {
    "commit not there": (
        breaks("source", "fetch", CheckoutError("there is no such commit")),
        StepName.CHECKOUT,
        DeploymentState.FAILURE,
        "there is no such commit",
    ),
    "git server down": (
        breaks("source", "fetch", GitError("the server cannot be reached")),
        StepName.CHECKOUT,
        DeploymentState.ERROR,
        "cannot be reached",
    ),
    "Dockerfile wrong": (
        breaks("engine", "build", BuildError("step 2 ended with code 1")),
        StepName.BUILD,
        DeploymentState.FAILURE,
        "step 2 ended with code 1",
    ),
    "engine down while building": (
        breaks("engine", "build", DockerError("the engine went away")),
        StepName.BUILD,
        DeploymentState.ERROR,
        "the engine went away",
    ),
    "no network": (
        breaks("engine", "ensure_network", DockerError("no subnet left")),
        StepName.START,
        DeploymentState.ERROR,
        "no subnet left",
    ),
    "command not there": (
        behaves(Behaviour(cannot_run=True)),
        StepName.START,
        DeploymentState.FAILURE,
        "cannot run",
    ),
    "exits at once": (
        behaves(Behaviour(exits=3)),
        StepName.HEALTH_CHECK,
        DeploymentState.FAILURE,
        "exited with code 3 before it was healthy",
    ),
    "out of memory": (
        behaves(Behaviour(out_of_memory=True, exits=137)),
        StepName.HEALTH_CHECK,
        DeploymentState.FAILURE,
        "out of memory",
    ),
    "never healthy": (
        behaves(Behaviour(unhealthy=True)),
        StepName.HEALTH_CHECK,
        DeploymentState.FAILURE,
        "GET /health on port 8000 was not healthy within 1 s; last seen: status 503",
    ),
    "router down": (
        breaks("router", "switch", RouterError("the router does not answer")),
        StepName.SWITCH,
        DeploymentState.ERROR,
        "the router does not answer",
    ),
}


class TestGoingWrong:
    @pytest.mark.parametrize(
        ("arrange", "step", "state", "reason"), FAILURES.values(), ids=FAILURES.keys()
    )
    def test_a_failure_says_whose_fault_it_is_and_leaves_the_old_one_serving(
        self,
        bench: Bench,
        app: App,
        *,
        arrange: Callable[[FakeWorld], None],
        step: StepName,
        state: DeploymentState,
        reason: str,
    ) -> None:
        first = bench.deploy(app)
        old, route = bench.serving(app), bench.world.router.current[app.host_port]
        second = bench.push(app)
        arrange(bench.world)

        done = bench.run(second)

        assert done.state is state
        assert reason in done.reason
        assert done.ended_at is not None
        *earlier, last = bench.step_rows(second)
        assert (last.name, str(last.state), last.reason) == (step, str(state), done.reason)
        assert {row.state for row in earlier} <= {StepState.SUCCESS, StepState.SKIPPED}
        assert bench.containers_of(second) == []
        assert bench.world.router.current[app.host_port] == route
        assert bench.serving(app) == old == bench.container_of(first.id or 0)
        assert bench.fresh(app).live_deployment_id == first.id
        assert bench.leases() == []
        assert done.reason in bench.log(second)

    def test_a_first_deployment_that_fails_leaves_no_route(self, bench: Bench, app: App) -> None:
        bench.world.engine.behaviour = Behaviour(
            answers_through_router=False, output=("its last words",)
        )
        bench.world.probe.on("look", lambda _: None)
        done = bench.run(bench.push(app))
        assert done.state is DeploymentState.FAILURE
        assert "did not answer through the router" in done.reason
        assert "its last words" in bench.log(done.id or 0)
        assert bench.world.router.current == {}
        assert bench.world.engine.containers() == []

    def test_the_containers_last_lines_are_in_the_log(self, bench: Bench, app: App) -> None:
        output = tuple(f"line {number}" for number in range(1, 100))
        bench.world.engine.behaviour = Behaviour(exits=1, output=output)
        done = bench.run(bench.push(app))
        log = bench.log(done.id or 0)
        assert "line 99" in log
        assert "line 50\n" in log
        assert "line 49\n" not in log

    def test_a_release_that_does_not_answer_through_the_router_is_led_back(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        old = bench.serving(app)
        bench.world.engine.behaviour = Behaviour(answers_through_router=False)
        done = bench.run(bench.push(app))
        assert done.state is DeploymentState.FAILURE
        assert bench.serving(app) == old
        assert "the traffic goes to the old release again" in bench.log(done.id or 0)

    def test_requests_of_a_failed_new_container_end_before_it_is_removed(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        bench.world.engine.behaviour = Behaviour(answers_through_router=False)
        second = bench.push(app)
        port = app.host_port
        bench.world.router.flying[port, "b"] = 2
        bench.world.journal.clear()
        bench.run(second)
        calls = bench.world.calls("switch", "in_flight", "detach", "stop")
        assert [call.partition(" ")[0] for call in calls] == [
            *["switch"] * 2,
            *["in_flight"] * 3,
            "detach",
            "stop",
        ]
        assert f"detach {port}/b" in calls

    def test_the_end_is_recorded_even_if_the_engine_dies_meanwhile(
        self, bench: Bench, app: App
    ) -> None:
        second = bench.push(app)

        def die(_about: str) -> None:
            bench.world.engine.down = True

        bench.world.engine.on("start", die)
        done = bench.run(second)
        assert (done.state, done.reason) == (
            DeploymentState.ERROR,
            "the Docker Engine does not answer",
        )
        assert "the container could not be removed now" in bench.log(second)

    def test_a_mistake_of_ours_is_an_error_that_shows_no_traceback(
        self, bench: Bench, app: App
    ) -> None:
        def blunder(_about: str) -> None:
            raise ZeroDivisionError("secret details")

        bench.world.engine.on("build", blunder)
        done = bench.run(bench.push(app))
        assert done.state is DeploymentState.ERROR
        assert done.reason == "Keystone itself failed (ZeroDivisionError); its log has more"
        assert "secret details" not in bench.log(done.id or 0)

    def test_a_reason_is_masked_before_it_is_cut_and_plays_no_tricks(
        self, bench: Bench, app: App
    ) -> None:
        key = "hunter2-" + "x" * 900
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            wanted = {"KEY": Variable(SecretStr(key))}
            set_variables(session, row, wanted, TESTER, vault=bench.runtime.vault)
        bench.world.engine.build_error = BuildError(f"RUN \x1bc{key} failed: exit code 1")
        done = bench.run(bench.push(app))
        assert done.reason == f"RUN {MASK} failed: exit code 1"

    def test_a_log_that_cannot_be_written_ends_nothing(self, bench: Bench, app: App) -> None:
        logs = bench.runtime.settings.logs_dir
        logs.mkdir()
        deployment = bench.push(app)
        (logs / f"{deployment}.log").symlink_to("/dev/full")
        assert bench.run(deployment).state is DeploymentState.SUCCESS


class TestRetiring:
    def test_running_requests_end_before_the_old_container_does(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app)
        old = bench.container_of(first.id or 0)
        bench.world.router.flying[app.host_port, "a"] = 3
        bench.world.journal.clear()
        bench.deploy(app)
        port = app.host_port
        assert bench.world.calls("in_flight", "detach", "halt", "stop") == [
            *[f"in_flight {port}/a"] * 4,
            f"detach {port}/a",
            f"halt {old}",
        ]
        bench.pass_trial(app)
        assert bench.world.calls("stop") == [f"stop {old}"]

    @pytest.mark.parametrize(
        ("fake", "call", "error"),
        [
            ("router", "in_flight", RouterError("the router does not answer")),
            ("router", "detach", RouterError("the router does not answer")),
            ("engine", "halt", DockerError("the engine went away")),
            ("engine", "stop", DockerError("the engine went away")),
            ("engine", "remove_image", DockerError("the engine went away")),
        ],
    )
    def test_a_failure_is_noted_and_changes_nothing(
        self, bench: Bench, fake: str, call: str, error: KeystoneError
    ) -> None:
        app = bench.app(keep_releases=1)
        for number in range(3):  # the third deployment drops what was kept to go back to
            last = bench.push(app)
            commit = bench.deployment(last).commit_sha
            bench.repository().commits[commit][1]["more"] = str(number)
            if number < 2:
                bench.run(last)
                bench.prove_releases()
        second = last
        getattr(bench.world, fake).fail(call, error)
        done = bench.run(second)
        assert (done.state, done.reason) == (DeploymentState.SUCCESS, "")
        assert bench.serving(app) == bench.container_of(second)
        assert bench.steps(second)[StepName.RETIRE] is StepState.ERROR
        assert str(error) in bench.log(second)
        assert bench.leases() == []

    @pytest.mark.parametrize(
        ("fake", "call"),
        [
            ("engine", "keep_running"),
            ("router", "routes"),
            ("router", "in_flight"),
            ("router", "detach"),
            ("engine", "halt"),
            ("engine", "images"),
        ],
    )
    def test_an_app_that_is_removed_meanwhile_leaves_no_traceback(
        self, bench: Bench, app: App, caplog: pytest.LogCaptureFixture, fake: str, call: str
    ) -> None:
        bench.deploy(app)
        second = bench.push(app)
        removed: list[str] = []

        def remove(_about: str) -> None:
            is_live = bench.fresh(app).live_deployment_id == second if not removed else False
            if is_live:
                removed.append(call)
                with bench.writing() as session:
                    remove_app(session, session.get_one(App, app.id), TESTER)

        getattr(bench.world, fake).on(call, remove)
        dispatch(bench.runtime, bench.world.tools, second, holder="worker:1")
        assert removed == [call]
        assert [record for record in caplog.records if record.exc_info] == []
        bench.reconcile()
        assert bench.world.engine.all_containers == {}

    def test_a_mistake_of_ours_closes_the_step_too(self, bench: Bench, app: App) -> None:
        def blunder(_about: str) -> None:
            raise ZeroDivisionError

        bench.deploy(app)
        second = bench.push(app)
        bench.world.router.on("in_flight", blunder)
        assert bench.run(second).state is DeploymentState.SUCCESS
        assert bench.steps(second)[StepName.RETIRE] is StepState.ERROR

    def test_a_router_that_fell_back_to_the_old_route_is_switched_again_first(
        self, bench: Bench, app: App
    ) -> None:
        bench.deploy(app)
        old_route = bench.world.router.current[app.host_port]
        second = bench.push(app)

        def fall_back(_about: str) -> None:
            bench.world.router.current[app.host_port] = old_route

        bench.world.router.on("routes", fall_back)
        bench.run(second)
        assert bench.serving(app) == bench.container_of(second)


class TestBeingCancelled:
    @pytest.mark.parametrize(
        ("fake", "call", "step"),
        [
            ("source", "fetch", StepName.CHECKOUT),
            ("engine", "build", StepName.BUILD),
            ("engine", "ensure_network", StepName.START),
            ("engine", "start", StepName.START),
            ("probe", "look", StepName.HEALTH_CHECK),
            ("router", "switch", StepName.SWITCH),
        ],
    )
    def test_a_cancel_request_at_any_step_ends_the_deployment_cancelled(
        self, bench: Bench, app: App, fake: str, call: str, step: StepName
    ) -> None:
        first = bench.deploy(app)
        second = bench.push(app)
        getattr(bench.world, fake).on(call, lambda _: bench.cancel(second))
        # Long enough for the worker to see it, were the step to wait.
        bench.world.engine.behaviour = Behaviour(healthy_after=3)
        done = bench.run(second)
        assert done.state is DeploymentState.CANCELLED
        assert done.reason == "cancelled by user:ada"
        assert bench.containers_of(second) == []
        assert bench.serving(app) == bench.container_of(first.id or 0)
        assert bench.leases() == []
        assert StepState.RUNNING not in bench.steps(second).values()
        assert step in bench.steps(second)

    def test_a_cancel_request_wins_over_a_failure_at_the_same_moment(
        self, bench: Bench, app: App
    ) -> None:
        second = bench.push(app)

        def cancel_and_fail(_about: str) -> None:
            bench.cancel(second)
            raise BuildError("the build failed too")

        bench.world.engine.on("build", cancel_and_fail)
        assert bench.run(second).state is DeploymentState.CANCELLED

    def test_waiting_for_health_ends_within_a_second(self, bench: Bench) -> None:
        app = bench.app(health_timeout_s=60)
        second = bench.push(app)
        bench.world.engine.behaviour = Behaviour(unhealthy=True)
        looks = iter(range(10**6))

        def cancel_at_the_first(_about: str) -> None:
            if next(looks) == 0:
                bench.cancel(second)

        bench.world.probe.on("look", cancel_at_the_first)
        done = bench.run(second)
        assert done.state is DeploymentState.CANCELLED
        assert done.ended_at is not None
        assert done.started_at is not None
        assert (done.ended_at - done.started_at).total_seconds() < 30
