"""A newer push that does not wait: the running one ends `superseded`, unless it is live by then."""

from dataclasses import replace

import pytest

from jobs.states import DeploymentState, OnNewPush, StepName, StepState
from jobs.storage.models import App, Deployment
from tests.jobs.bench import Bench, push_of


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app(on_new_push=OnNewPush.REPLACE)


def pushed_while(bench: Bench, app: App, fake: str, call: str) -> list[int]:
    """Have a newer push arrive in the middle of a call.

    Returns:
        Where the id of the newer push's deployment will be.
    """
    newer: list[int] = []

    def push_once(_about: str) -> None:
        if not newer:
            newer.append(bench.push(app))

    getattr(bench.world, fake).on(call, push_once)
    return newer


def run_both(bench: Bench, first: int, newer: list[int]) -> tuple[Deployment, Deployment]:
    bench.run(first)
    (second,) = newer
    return bench.deployment(first), bench.run(second)


@pytest.mark.parametrize(
    ("fake", "call"), [("source", "fetch"), ("engine", "build"), ("engine", "start")]
)
def test_the_running_push_makes_way(bench: Bench, app: App, fake: str, call: str) -> None:
    newer = pushed_while(bench, app, fake, call)
    old, new = run_both(bench, bench.push(app), newer)
    assert (old.state, old.reason) == (DeploymentState.SUPERSEDED, "#2 is a newer push")
    assert new.state is DeploymentState.SUCCESS
    assert bench.containers_of(old.id or 0) == []
    assert bench.serving(app) == bench.container_of(new.id or 0)


def test_a_build_is_cut_and_its_step_and_its_status_say_why(bench: Bench, app: App) -> None:
    pushed_while(bench, app, "engine", "build")
    bench.world.engine.build_takes_s = 60  # unless it is cut
    old = bench.run(bench.push(app))
    last = bench.step_rows(old.id or 0)[-1]
    assert (last.name, last.state, last.reason) == (
        StepName.BUILD,
        StepState.SUPERSEDED,
        "#2 is a newer push",
    )
    assert bench.statuses(old.id or 0)[-1].description.endswith("#2 is a newer push")


def test_the_old_release_serves_until_the_newer_push_is_live(bench: Bench, app: App) -> None:
    before = bench.deploy(app)
    newer = pushed_while(bench, app, "engine", "build")
    bench.run(bench.push(app))
    assert bench.serving(app) == bench.container_of(before.id or 0)
    assert bench.run(newer[0]).state is DeploymentState.SUCCESS


def test_a_push_that_is_live_by_then_stays_a_success(bench: Bench, app: App) -> None:
    bench.deploy(app)
    newer = pushed_while(bench, app, "router", "in_flight")
    old, new = run_both(bench, bench.push(app), newer)
    assert (old.state, new.state) == (DeploymentState.SUCCESS, DeploymentState.SUCCESS)


def test_a_push_that_has_begun_to_switch_is_not_reverted(bench: Bench, app: App) -> None:
    bench.deploy(app)
    newer = pushed_while(bench, app, "router", "switch")
    bench.run(bench.push(app))
    assert bench.states(app) == ["success", "success", "queued"]
    assert bench.run(newer[0]).state is DeploymentState.SUCCESS


def test_a_push_that_arrives_right_before_the_switch_still_wins(bench: Bench, app: App) -> None:
    before = bench.deploy(app)
    newer = pushed_while(bench, app, "probe", "look")
    bench.run(bench.push(app))
    assert bench.states(app) == ["success", "superseded", "queued"]
    assert StepName.SWITCH not in bench.steps(newer[0] - 1)
    assert bench.serving(app) == bench.container_of(before.id or 0)


def test_an_older_push_that_arrives_late_replaces_nothing(bench: Bench, app: App) -> None:
    """What caught up on the branch's head has no time of GitHub's to be compared by."""
    older, newest = (push_of(bench, bench.commit(message)) for message in ("older", "newest"))
    late: list[int] = []

    def deliver_once(_about: str) -> None:
        if not late:
            late.append(bench.deliver(older).deployments[0][0].id or 0)

    bench.world.engine.on("build", deliver_once)
    first = bench.deliver(replace(newest, pushed_at=None)).deployments[0][0].id or 0
    assert bench.run(first).state is DeploymentState.SUCCESS
    assert bench.run(late[0]).state is DeploymentState.SUPERSEDED
    assert bench.serving(app) == bench.container_of(first)


def test_a_push_of_another_ref_replaces_nothing(bench: Bench) -> None:
    app = bench.app("tagged", on_new_push=OnNewPush.REPLACE, tag_pattern="v*")
    tag: list[int] = []

    def tag_once(_about: str) -> None:
        if not tag:
            push = replace(push_of(bench, bench.commit("tagged")), ref="refs/tags/v1")
            tag.append(bench.deliver(push).deployments[0][0].id or 0)

    bench.world.engine.on("build", tag_once)
    assert bench.run(bench.push(app)).state is DeploymentState.SUCCESS
    assert bench.run(tag[0]).state is DeploymentState.SUCCESS


def test_a_manual_deployment_is_not_replaced(bench: Bench, app: App) -> None:
    bench.commit()
    newer = pushed_while(bench, app, "engine", "build")
    old, new = run_both(bench, bench.ask(app), newer)
    assert (old.state, new.state) == (DeploymentState.SUCCESS, DeploymentState.SUCCESS)


def test_a_person_who_cancels_has_the_last_word(bench: Bench, app: App) -> None:
    newer: list[int] = []

    def push_and_cancel(_about: str) -> None:
        if not newer:
            newer.append(bench.push(app))
            bench.cancel(first)

    bench.world.engine.on("build", push_and_cancel)
    first = bench.push(app)
    bench.run(first)
    assert bench.deployment(first).state is DeploymentState.CANCELLED


def test_a_worker_that_died_meanwhile_leaves_it_superseded(bench: Bench, app: App) -> None:
    newer: list[int] = []

    def push_and_die(_about: str) -> None:
        newer.append(bench.push(app))
        raise KeyboardInterrupt

    bench.world.engine.on("build", push_and_die)
    first = bench.push(app)
    with pytest.raises(KeyboardInterrupt):
        bench.run(first)
    bench.world.engine.heal()
    bench.expire_leases()
    bench.reconcile()
    assert bench.deployment(first).state is DeploymentState.SUPERSEDED
    assert bench.run(newer[0]).state is DeploymentState.SUCCESS


def test_without_the_setting_the_newer_push_waits(bench: Bench) -> None:
    app = bench.app(on_new_push=OnNewPush.WAIT)
    newer = pushed_while(bench, app, "engine", "build")
    old, new = run_both(bench, bench.push(app), newer)
    assert (old.state, new.state) == (DeploymentState.SUCCESS, DeploymentState.SUCCESS)
