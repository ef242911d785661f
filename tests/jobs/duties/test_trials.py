"""A release whose container ends twice in its first minute is withdrawn: the one before serves."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.duties.containers import follow_containers, look_at_containers
from jobs.duties.trials import JUDGED_UNTIL, ends_counted, in_words, is_over_for_good
from jobs.errors import DockerError
from jobs.reads.apps import app_view
from jobs.records.audit import Tag
from jobs.records.rollbacks import roll_back
from jobs.records.trials import TRIAL, count_ends
from jobs.records.variables import set_variables
from jobs.rules.container_values import Container
from jobs.rules.variables import Variable
from jobs.states import (
    AppState,
    ContainerState,
    DeploymentState,
    GitHubState,
    Kind,
    Lane,
    Restart,
    StepName,
    Trigger,
)
from jobs.storage.models import App, AuditEvent, Deployment, Release, now
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench, kill, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture
def first(bench: Bench, app: App) -> Deployment:
    """A release that has stood its trial."""
    done = bench.deploy(app)
    bench.pass_trial(app)
    return done


@pytest.fixture
def second(bench: Bench, app: App, first: Deployment) -> Deployment:
    """A release on trial, with the first one to go back to."""
    assert first
    bench.world.engine.behaviour = Behaviour(output=("it begins", "no such table: users"))
    done = bench.deploy(app)
    bench.world.engine.behaviour = Behaviour()
    return done


def end(bench: Bench, app: App, *, restarts: int, state: ContainerState, code: int = 3) -> None:
    """Have the live container end, as the engine tells it."""
    live = bench.fresh(app).live_container_id or ""
    found = bench.world.engine.all_containers[live]
    exit_code = None if state is ContainerState.RUNNING else code
    found.about = replace(found.about, restarts=restarts, state=state, exit_code=exit_code)


def look(bench: Bench) -> None:
    look_at_containers(bench.runtime, bench.world.tools)


def end_twice(bench: Bench, app: App, state: ContainerState = ContainerState.RESTARTING) -> None:
    end(bench, app, restarts=2, state=state)
    look(bench)


def last(bench: Bench, app: App) -> Deployment:
    """Give the app's newest deployment."""
    with bench.reading() as session:
        number = bench.fresh(app).last_deployment
        statement = select(Deployment).where(
            Deployment.app_id == app.id, Deployment.number == number
        )
        return session.exec(statement).one()


def told(bench: Bench, deployment: Deployment) -> list[tuple[GitHubState, str]]:
    rows = bench.statuses(deployment.id or 0)
    return [(row.state, row.description) for row in rows]


class TestGoingBack:
    def test_ending_twice_withdraws_the_success(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        end_twice(bench, app)
        withdrawn = bench.deployment(second.id or 0)
        assert (withdrawn.state, withdrawn.ended_at) == (DeploymentState.FAILURE, second.ended_at)
        assert withdrawn.reason == (
            "its container ended 2 times within 60 s of going live: it exited with code 3; "
            "going back to v1 with #3; it wrote: no such table: users"
        )
        state, words = told(bench, second)[-1]
        assert state is GitHubState.FAILURE
        assert words == (
            "Deployment #2: failure: its container ended 2 times within 60 s of going live: it "
            "exited with code 3; going back to v1 with #3; it wrote: n…"
        )
        assert "no such table: users" in bench.log(second.id or 0)

    def test_the_release_before_is_queued_as_a_recovery(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        end_twice(bench, app)
        recovery = last(bench, app)
        assert (recovery.kind, recovery.trigger) == (Kind.ROLLBACK, Trigger.RECOVERY)
        assert (recovery.release_id, recovery.commit_sha) == (first.release_id, first.commit_sha)
        assert (recovery.actor, recovery.recovers_id) == ("keystone:recovery", second.id)
        assert bench.runtime.queue.waiting([Lane.QUICK]) == {recovery.id}
        assert bench.fresh(app).auto_deploy

    def test_the_previous_release_serves_again_from_its_kept_container(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        kept = bench.container_of(first.id or 0)
        assert bench.running_of(first.id or 0) == []
        end_twice(bench, app)
        done = bench.run(last(bench, app).id or 0)
        assert done.state is DeploymentState.SUCCESS
        assert bench.serving(app) == kept == bench.fresh(app).live_container_id
        assert bench.containers_of(second.id or 0) == []
        assert bench.world.engine.all_containers[kept].restart is Restart.ALWAYS
        assert bench.fresh(app).fallback_container_id is None

    def test_where_the_container_is_gone_another_one_is_made(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        assert second
        del bench.world.engine.all_containers[bench.container_of(first.id or 0)]
        end_twice(bench, app)
        recovery = last(bench, app)
        assert bench.run(recovery.id or 0).state is DeploymentState.SUCCESS
        assert bench.serving(app) == bench.container_of(recovery.id or 0)

    def test_pages_say_what_happened(self, bench: Bench, app: App, second: Deployment) -> None:
        assert second
        end_twice(bench, app)
        bench.run(last(bench, app).id or 0)
        with bench.reading() as session:
            view = app_view(session, app.name, bench.runtime.settings)
        assert view.state is AppState.RUNNING
        assert view.state_reason.startswith(
            "#2 did not stay up, so v1 serves again: its container ended 2 times"
        )

    def test_a_recovery_is_on_the_audit_trail(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        end_twice(bench, app)
        with bench.reading() as session:
            statement = select(AuditEvent).where(AuditEvent.tag == Tag.DEPLOYMENT_WITHDRAWN)
            (event,) = session.exec(statement).all()
        assert (event.actor, event.target) == ("keystone:recovery", f"deployment:{second.id}")

    def test_secrets_are_masked_in_the_reason_of_a_withdrawal(
        self, bench: Bench, app: App, first: Deployment
    ) -> None:
        assert first
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            given = {"KEY": Variable(SecretStr("hunter2hunter2"))}
            set_variables(session, row, given, TESTER, vault=bench.runtime.vault)
        bench.world.engine.behaviour = Behaviour(output=("the key hunter2hunter2 is wrong",))
        done = bench.deploy(app)
        end_twice(bench, app)
        withdrawn = bench.deployment(done.id or 0)
        assert withdrawn.reason.endswith("it wrote: the key [REDACTED] is wrong")
        assert "hunter2" not in bench.log(done.id or 0)

    def test_a_deployment_is_withdrawn_only_once(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        assert second
        end_twice(bench, app)
        end(bench, app, restarts=9, state=ContainerState.RESTARTING)
        look(bench)
        assert bench.states(app) == ["success", "failure", "queued"]

    def test_a_container_that_is_down_when_the_minute_is_over_does_not_stay(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        end(bench, app, restarts=1, state=ContainerState.RESTARTING)
        look(bench)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS
        bench.pass_trial(app)
        withdrawn = bench.deployment(second.id or 0)
        assert withdrawn.state is DeploymentState.FAILURE
        assert withdrawn.reason.startswith("its container ended within 60 s of going live: it exit")

    def test_an_event_is_enough(self, bench: Bench, app: App, second: Deployment) -> None:
        end(bench, app, restarts=2, state=ContainerState.RUNNING)
        bench.world.engine.changed.append(bench.container_of(second.id or 0))
        follow_containers(bench.runtime, bench.world.tools)
        withdrawn = bench.deployment(second.id or 0)
        assert withdrawn.reason.startswith(
            "its container ended 2 times within 60 s of going live; going back to v1 with #3"
        )


class TestWithoutAnEarlierRelease:
    def test_the_status_is_corrected_all_the_same(self, bench: Bench, app: App) -> None:
        done = bench.deploy(app)
        end_twice(bench, app)
        withdrawn = bench.deployment(done.id or 0)
        assert withdrawn.state is DeploymentState.FAILURE
        assert "there is no earlier release to go back to" in withdrawn.reason
        assert told(bench, done)[-1][0] is GitHubState.FAILURE
        assert bench.states(app) == ["failure"]
        with bench.reading() as session:
            assert app_view(session, app.name, bench.runtime.settings).state is AppState.FAILING


class TestWhatIsNoFailure:
    def test_one_end_is_forgiven(self, bench: Bench, app: App, second: Deployment) -> None:
        end(bench, app, restarts=1, state=ContainerState.RUNNING)
        look(bench)
        bench.pass_trial(app)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS
        settled = bench.fresh(app)
        assert (settled.trial_ends_at, settled.fallback_container_id) == (None, None)
        assert len(bench.world.engine.all_containers) == 1

    def test_after_its_first_minute_it_only_shows_as_failing(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        bench.pass_trial(app)
        end_twice(bench, app)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS

    def test_a_watcher_that_was_away_for_hours_withdraws_nothing(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        with bench.writing() as session:
            session.get_one(App, app.id).trial_ends_at = now() - JUDGED_UNTIL
        end_twice(bench, app)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS
        assert bench.fresh(app).trial_ends_at is None

    def test_a_watcher_that_was_away_for_a_minute_withdraws(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        with bench.writing() as session:
            session.get_one(App, app.id).trial_ends_at = now() - timedelta(seconds=30)
        end_twice(bench, app)
        assert bench.deployment(second.id or 0).state is DeploymentState.FAILURE

    def test_a_container_that_somebody_removed_has_not_ended(
        self, bench: Bench, second: Deployment
    ) -> None:
        del bench.world.engine.all_containers[bench.container_of(second.id or 0)]
        look(bench)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS


class TestCounting:
    def test_ends_before_the_engine_counted_anew_are_not_forgotten(self) -> None:
        app = App(name="web", repository_id=1, host_port=20000)
        counts = [count_ends(app, counted) for counted in (1, 1, 0, 1)]
        assert counts == [1, 1, 1, 2]

    @pytest.mark.parametrize(
        ("state", "code", "restart", "expected"),
        [
            (ContainerState.EXITED, 1, Restart.ALWAYS, False),
            (ContainerState.EXITED, 1, Restart.ON_FAILURE, False),
            (ContainerState.EXITED, 0, Restart.ON_FAILURE, True),
            (ContainerState.EXITED, 1, Restart.NEVER, True),
            (ContainerState.RUNNING, None, Restart.NEVER, False),
            (ContainerState.MISSING, None, Restart.NEVER, False),
        ],
    )
    def test_one_end_is_too_many_where_nobody_starts_it_again(
        self, state: ContainerState, code: int | None, restart: Restart, *, expected: bool
    ) -> None:
        container = Container("c", state, exit_code=code)
        assert is_over_for_good(container, restart) is expected

    def test_a_container_that_is_never_started_again_ends_once(
        self, bench: Bench, first: Deployment
    ) -> None:
        assert first
        other = bench.app("once", restart=Restart.NEVER)
        done = bench.run(bench.ask(other, sha=first.commit_sha))
        end(bench, other, restarts=0, state=ContainerState.EXITED, code=0)
        look(bench)
        withdrawn = bench.deployment(done.id or 0)
        assert withdrawn.reason.startswith("its container ended within 60 s of going live: it exit")

    @pytest.mark.parametrize(
        ("state", "restarts", "restart", "ends"),
        [
            (ContainerState.RUNNING, 2, Restart.ALWAYS, 2),
            (ContainerState.RESTARTING, 2, Restart.ALWAYS, 2),
            (ContainerState.EXITED, 0, Restart.NEVER, 1),
            (ContainerState.EXITED, 2, Restart.ON_FAILURE, 3),
            # With the engine, or by somebody's hand: the engine would have started it again.
            (ContainerState.EXITED, 1, Restart.ALWAYS, 1),
            (ContainerState.MISSING, 0, Restart.ALWAYS, 0),
        ],
    )
    def test_ends_that_are_not_the_apps_own_are_not_counted(
        self, state: ContainerState, restarts: int, restart: Restart, ends: int
    ) -> None:
        assert ends_counted(Container("c", state, restarts=restarts, restart=restart)) == ends

    def test_the_reason_names_a_lack_of_memory(self) -> None:
        container = Container("c", ContainerState.RESTARTING, out_of_memory=True, exit_code=137)
        assert in_words(container, 2).endswith("it was stopped because it was out of memory")


class TestWhatHappensMeanwhile:
    def test_a_running_deployment_is_suspended_for_the_recovery(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        assert second
        third = bench.push(app)

        def fail_meanwhile(_about: str) -> None:
            if bench.deployment(2).state is DeploymentState.SUCCESS:
                end_twice(bench, app)
                bench.world.engine.build_takes_s = 60  # unless it is cut

        bench.world.engine.on("build", fail_meanwhile)
        given_back = bench.run(third)
        assert (given_back.state, given_back.attempts) == (DeploymentState.QUEUED, 0)
        bench.world.engine.build_takes_s = 0
        recovery = bench.run(third)  # whichever wake-up it is: the recovery comes first
        assert recovery.state is DeploymentState.QUEUED
        assert bench.serving(app) == bench.container_of(first.id or 0)
        assert bench.run(third).state is DeploymentState.SUCCESS
        assert bench.serving(app) == bench.container_of(third)
        assert bench.states(app) == ["success", "failure", "success", "success"]

    def test_a_deployment_that_has_begun_to_switch_replaces_the_failed_one(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        assert second
        third = bench.push(app)
        bench.world.router.on("switch", once(lambda: end_twice(bench, app)))
        assert bench.run(third).state is DeploymentState.SUCCESS
        recovery = last(bench, app)
        assert bench.run(recovery.id or 0).reason == "another release is live by now"
        assert bench.states(app) == ["success", "failure", "success", "superseded"]
        assert bench.serving(app) == bench.container_of(third)

    def test_a_release_that_ended_on_trial_is_nothing_to_go_back_to(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        end(bench, app, restarts=1, state=ContainerState.RUNNING)
        look(bench)
        third = bench.deploy(app)
        assert bench.containers_of(second.id or 0) == []
        end_twice(bench, app)
        bench.run(last(bench, app).id or 0)
        assert bench.deployment(third.id or 0).state is DeploymentState.FAILURE
        assert bench.serving(app) == bench.container_of(first.id or 0)

    def test_of_several_quick_releases_the_one_before_is_kept(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        bench.deploy(app)
        assert bench.containers_of(first.id or 0) == []
        assert bench.fresh(app).fallback_container_id == bench.container_of(second.id or 0)

    def test_where_that_one_does_not_stay_up_either_the_one_before_it_serves(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        bench.deploy(app)
        for back_to in (second, first):
            end_twice(bench, app)
            recovery = last(bench, app)
            assert recovery.release_id == back_to.release_id
            assert bench.run(recovery.id or 0).state is DeploymentState.SUCCESS
        assert bench.states(app) == ["success", "success", "failure", "failure", "success"]
        assert bench.serving(app) == bench.container_of(recovery.id or 0)
        end_twice(bench, app)
        assert bench.states(app)[-1] == "failure", "and then there is nothing left to go back to"

    def test_where_none_is_proven_one_that_has_not_ended_is_kept(
        self, bench: Bench, app: App
    ) -> None:
        first = bench.deploy(app)
        bench.deploy(app)
        assert bench.fresh(app).fallback_container_id == bench.container_of(first.id or 0)

    def test_a_recovery_that_does_not_stay_up_either_goes_nowhere(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        assert second
        end_twice(bench, app)
        recovery = bench.run(last(bench, app).id or 0)
        end_twice(bench, app, ContainerState.RUNNING)
        assert bench.states(app) == ["success", "failure", "failure"]
        assert bench.deployment(recovery.id or 0).reason.endswith(
            "there is no earlier release to go back to"
        )
        assert bench.serving(app) == bench.container_of(first.id or 0)

    def test_a_recovery_that_fails_lets_go_of_what_was_kept(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        bench.world.engine.all_containers[bench.container_of(first.id or 0)].behaviour = Behaviour(
            unhealthy=True
        )
        with bench.writing() as session:
            release = bench.deployment(first.id or 0).release_id
            shorten(session, release)
        end_twice(bench, app, ContainerState.RUNNING)
        recovery = bench.run(last(bench, app).id or 0)
        assert recovery.state is DeploymentState.FAILURE
        assert bench.serving(app) == bench.container_of(second.id or 0)
        bench.reconcile()
        bench.reconcile()
        assert bench.fresh(app).fallback_container_id is None
        assert bench.containers_of(first.id or 0) == []

    def test_a_person_who_rolls_back_gets_a_new_container(
        self, bench: Bench, app: App, first: Deployment, second: Deployment
    ) -> None:
        assert second
        with bench.writing() as session:
            asked = roll_back(session, session.get_one(App, app.id), 1, TESTER)
        done = bench.run(asked.id or 0)
        assert bench.serving(app) == bench.container_of(done.id or 0)
        assert bench.containers_of(first.id or 0) == []

    def test_the_push_of_the_failed_commit_is_not_taken_again(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        end_twice(bench, app)
        bench.run(last(bench, app).id or 0)
        again = push_of(bench, second.commit_sha, pushed_at=second.pushed_at)
        receipt = bench.deliver(again, guid=second.guid or "")
        assert receipt.outcome == "duplicate"
        assert [name for _, name in receipt.deployments] == [app.name]

    def test_a_removed_app_takes_what_was_kept_with_it(
        self, bench: Bench, app: App, second: Deployment
    ) -> None:
        assert second
        with bench.writing() as session:
            session.delete(session.get_one(App, app.id))
        bench.reconcile()
        assert bench.world.engine.all_containers == {}


class TestAKilledProcess:
    @pytest.mark.parametrize("call", ["halt", "keep_running"])
    def test_the_worker_dies_before_it_has_halted_the_old_one(
        self, bench: Bench, app: App, first: Deployment, call: str
    ) -> None:
        third = bench.push(app)
        bench.world.engine.on(call, kill)
        bench.run_and_die(third)
        bench.reconcile()
        assert bench.running_of(first.id or 0) == []
        assert bench.fresh(app).fallback_container_id == bench.container_of(first.id or 0)
        end_twice(bench, app)
        bench.run(last(bench, app).id or 0)
        assert bench.serving(app) == bench.container_of(first.id or 0)

    @pytest.mark.parametrize("call", ["output"])
    def test_the_watcher_dies_while_it_withdraws(
        self, bench: Bench, app: App, second: Deployment, call: str
    ) -> None:
        end(bench, app, restarts=2, state=ContainerState.RESTARTING)
        bench.world.engine.fail(call, DockerError("the engine went away"))
        with pytest.raises(DockerError):
            look(bench)
        assert bench.deployment(second.id or 0).state is DeploymentState.SUCCESS
        bench.world.engine.heal()
        look(
            bench
        )  # nothing has changed since the last look, but what it meant is still to be done
        assert bench.deployment(second.id or 0).state is DeploymentState.FAILURE

    @pytest.mark.parametrize(
        ("fake", "call"),
        [("engine", "start_again"), ("probe", "look"), ("router", "switch")],
    )
    def test_the_worker_dies_during_the_recovery(
        self, bench: Bench, app: App, first: Deployment, second: Deployment, fake: str, call: str
    ) -> None:
        end_twice(bench, app, ContainerState.RUNNING)
        recovery = last(bench, app).id or 0
        getattr(bench.world, fake).on(call, kill)
        bench.run_and_die(recovery)
        bench.reconcile()
        assert bench.deployment(recovery).state.is_over
        assert bench.serving(app) == bench.container_of(second.id or 0)
        assert bench.leases() == []
        bench.reconcile()
        bench.reconcile()
        assert bench.containers_of(first.id or 0) == []


def once(act: Callable[[], object]) -> Callable[[str], None]:
    """Do something at the first call only."""
    done: list[bool] = []

    def do(_about: str) -> None:
        if not done:
            done.append(True)
            act()

    return do


def shorten(session: Session, release_id: int | None) -> None:
    """Have a release's health check give up soon."""
    release = session.get_one(Release, release_id)
    release.container = release.container.model_copy(update={"health_timeout_s": 1})


def test_the_trial_lasts_a_minute(bench: Bench, app: App, second: Deployment) -> None:
    ends_at = bench.fresh(app).trial_ends_at
    assert ends_at is not None
    assert second.ended_at is not None
    assert abs(ends_at - second.ended_at - TRIAL) < timedelta(seconds=5)
    assert StepName.RETIRE in bench.steps(second.id or 0)
