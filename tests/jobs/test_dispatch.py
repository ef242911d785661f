"""From a wake-up to a running deployment, and to the next one."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs import dispatch
from jobs.processes.logging import RedactingFilter
from jobs.records.requests import Request, request
from jobs.records.rollbacks import roll_back
from jobs.rules.redaction import Redactor
from jobs.states import DeploymentState, Lane, Trigger
from jobs.storage.models import App, Deployment
from jobs.storage.vault import Vault
from tests.build_events import output
from tests.fakes import Behaviour
from tests.jobs.bench import TESTER, Bench, KilledError, kill, wait_for


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(token="ghp_secretsecretsecret")


def test_a_wake_up_too_many_finds_nothing_to_do(bench: Bench, app: App) -> None:
    done = bench.deploy(app)
    bench.world.journal.clear()
    bench.run(done.id or 0)
    assert bench.world.journal == []
    assert bench.leases() == []


def test_a_wake_up_for_an_app_that_was_removed_is_forgotten(bench: Bench, app: App) -> None:
    deployment = bench.ask(app)
    with bench.writing() as session:
        session.delete(session.get_one(App, app.id))
    dispatch.dispatch(bench.runtime, bench.world.tools, deployment, holder="worker:1")
    assert bench.world.journal == []


def test_while_somebody_is_at_it_a_second_worker_leaves_it_alone(bench: Bench, app: App) -> None:
    first, second = bench.ask(app), bench.ask(app)
    bench.commit()
    others: list[DeploymentState] = []
    bench.world.engine.on("build", lambda _: others.append(bench.run(second).state))
    bench.run(first)
    assert others == [DeploymentState.QUEUED]
    assert bench.runtime.queue.waiting() == {second}


QUICK = [Lane.QUICK]


def ask_back(bench: Bench, app: App, release: int = 1) -> int:
    with bench.writing() as session:
        return roll_back(session, session.get_one(App, app.id), release, TESTER).id or 0


def test_the_worker_of_the_quick_lane_runs_a_rollback(bench: Bench, app: App) -> None:
    bench.deploy(app)
    bench.deploy(app)
    back = bench.run(ask_back(bench, app), lanes=QUICK)
    assert back.state is DeploymentState.SUCCESS
    assert bench.leases() == []


def test_the_worker_of_the_quick_lane_passes_a_build_on(bench: Bench, app: App) -> None:
    build = bench.ask(app)
    assert bench.run(build, lanes=QUICK).state is DeploymentState.QUEUED
    assert bench.leases() == []
    assert bench.runtime.queue.waiting([Lane.BUILD]) == {build}
    assert bench.runtime.queue.waiting(QUICK) == set()


def test_a_build_before_a_rollback_is_run_first_and_wakes_the_quick_lane(
    bench: Bench, app: App
) -> None:
    bench.deploy(app)
    bench.deploy(app)
    bench.commit()
    # The wake-up of a rollback may find another deployment first: the lane is only a hint.
    build = bench.ask(app)
    with bench.writing() as session:
        release = session.get_one(Deployment, build - 1).release_id
        request(session, session.get_one(App, app.id), _back_to(release), TESTER)
    back = build + 1
    assert bench.run(back, lanes=QUICK).state is DeploymentState.QUEUED
    assert bench.runtime.queue.waiting([Lane.BUILD]) == {build}
    assert bench.run(build).state is DeploymentState.SUCCESS
    assert bench.runtime.queue.waiting(QUICK) == {back}


def _back_to(release: int | None) -> Request:
    return Request(Trigger.ROLLBACK, "a" * 40, commit_sha="a" * 40, release_id=release)


def test_the_worker_of_the_quick_lane_leaves_a_held_app_alone(bench: Bench, app: App) -> None:
    bench.deploy(app)
    bench.deploy(app)
    build, waiting = bench.ask(app), list[set[int]]()
    bench.commit()

    def look(_about: str) -> None:
        back = ask_back(bench, app)
        assert bench.run(back, lanes=QUICK).state is DeploymentState.QUEUED
        waiting.append(bench.runtime.queue.waiting())

    bench.world.engine.on("build", look)
    bench.run(build)
    assert waiting == [set()]
    assert bench.runtime.queue.waiting(QUICK) == {build + 1}


def test_a_worker_of_the_quick_lane_that_dies_leaves_a_rollback_to_the_others(
    bench: Bench, app: App
) -> None:
    bench.deploy(app)
    bench.deploy(app)
    back = ask_back(bench, app)
    bench.world.engine.on("start", kill)
    with pytest.raises(KilledError):
        bench.run(back, lanes=QUICK)
    bench.world.engine.heal()
    bench.expire_leases()
    bench.reconcile()
    assert bench.leases() == []
    assert bench.deployment(back).reason.startswith("the worker was killed in start")
    assert bench.run(ask_back(bench, app)).state is DeploymentState.SUCCESS


def test_the_token_fetches_and_is_in_no_log(bench: Bench, app: App) -> None:
    bench.repository().token = "ghp_secretsecretsecret"
    bench.world.engine.build_output = (output(1, "using ghp_secretsecretsecret"),)
    done = bench.deploy(app)
    assert "using [REDACTED]" in bench.log(done.id or 0)
    assert "ghp_secret" not in bench.log(done.id or 0)


def test_the_log_of_the_process_masks_what_the_deployment_knows(
    bench: Bench, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(RedactingFilter(Redactor()))
    token = "\u200b".join("ghp_secretsecretsecret")
    bench.world.engine.on("build", lambda _: int(token))
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.ERROR
    (told,) = [record.exc_text for record in caplog.records if record.exc_text]
    assert "ValueError: invalid literal for int() with base 10: '[REDACTED]'" in told


def test_a_key_that_does_not_fit_ends_the_deployment_with_a_reason(
    bench: Bench, app: App, tmp_path: Path
) -> None:
    deployment = bench.push(app)
    other = Vault.from_settings(SecretStr("another key than the one that sealed"), tmp_path)
    runtime = replace(bench.runtime, vault=other)
    dispatch.dispatch(runtime, bench.world.tools, deployment, holder="worker:1")
    done = bench.deployment(deployment)
    assert done.state is DeploymentState.ERROR
    assert "a stored secret was sealed with another key" in done.reason
    assert bench.leases() == []


def test_a_log_that_cannot_be_written_ends_the_deployment_with_that_reason(
    bench: Bench, app: App
) -> None:
    folder = bench.runtime.settings.logs_dir
    folder.write_text("somebody's file")
    done = bench.deployment(bench.push(app))
    done = bench.run(done.id or 0)
    assert done.state is DeploymentState.ERROR
    assert done.reason == f"the log logs/{done.id}.log cannot be written: File exists"
    assert done.attempts == 1
    assert bench.leases() == []
    folder.unlink()
    assert bench.deploy(app).state is DeploymentState.SUCCESS


def test_work_that_breaks_off_without_an_end_is_left_to_the_watcher(bench: Bench, app: App) -> None:
    deployment = bench.push(app)
    bench.world.engine.on("build", kill)
    with pytest.raises(KilledError):
        bench.run(deployment)
    assert bench.deployment(deployment).state is DeploymentState.RUNNING
    assert [lease.deployment_id for lease in bench.leases()] == [deployment]
    bench.world.engine.heal()
    bench.reconcile()
    assert bench.run(deployment).state is DeploymentState.SUCCESS


def test_a_long_step_keeps_its_lease(
    bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "RENEW_EVERY_S", 0.25)
    renewals = []

    def build_long(_about: str) -> None:
        end = bench.leases()[0].expires_at
        wait_for(lambda: bench.leases()[0].expires_at > end)
        renewals.append(bench.leases()[0].expires_at - end)

    bench.world.engine.on("build", build_long)
    bench.deploy(app)
    assert renewals


def test_nothing_is_left_running_when_it_is_over(bench: Bench, app: App) -> None:
    before = set(threading.enumerate())  # some of which may end meanwhile
    bench.deploy(app)
    bench.world.engine.behaviour = Behaviour(exits=1)
    bench.run(bench.push(app))
    assert set(threading.enumerate()) <= before
