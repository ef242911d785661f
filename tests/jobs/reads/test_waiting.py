"""What each queued deployment waits for, and at which place."""

from datetime import timedelta

import pytest

from jobs.deployment.claims import claim_next
from jobs.reads.deployments import deployment_view
from jobs.reads.waiting import SILENT_AFTER, next_up
from jobs.records.deployments import begin
from jobs.records.requests import Request, request
from jobs.records.watched import keep_vitals
from jobs.rules.waiting import NO_WORKER, SOON, UNKNOWN
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import App, Vitals, now
from tests.jobs.bench import TESTER, Bench


@pytest.fixture(autouse=True)
def two_workers(bench: Bench) -> None:
    note_workers(bench, 2)


def note_workers(bench: Bench, count: int, *, ago: timedelta = timedelta()) -> None:
    """Have the watcher have seen so many workers."""
    with bench.writing() as session:
        keep_vitals(
            session, Vitals(at=now() - ago, workers=count, disk_free=1, disk_total=1, problems={})
        )


def told(bench: Bench, deployment: int) -> tuple[str | None, int | None]:
    with bench.reading() as session:
        view = deployment_view(session, deployment)
    return view.waiting_for, view.place


def begun(bench: Bench, app: App) -> None:
    """Have a worker run the app's next deployment."""
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, "vm:1")
        assert claim
        begin(session, claim.held)


def ask(bench: Bench, app: App, trigger: Trigger) -> int:
    with bench.writing() as session:
        wanted = Request(trigger, "a" * 40, commit_sha="a" * 40)
        return request(session, session.get_one(App, app.id), wanted, TESTER).id or 0


def test_builds_wait_for_the_workers_in_their_order_and_rollbacks_do_not(bench: Bench) -> None:
    names = ("blog", "shop", "third", "fourth", "fifth")
    blog, shop, third, fourth, fifth = (bench.app(name) for name in names)
    for app in (blog, shop):
        bench.ask(app)
        begun(bench, app)
    waiting = [bench.ask(third), bench.ask(fourth)]
    back = ask(bench, fifth, Trigger.ROLLBACK)
    both = "both workers are busy with blog #1 and shop #1"
    assert [told(bench, each) for each in waiting] == [
        (both, 1),
        (f"1 build is before it; {both}", 2),
    ]
    assert told(bench, back) == (SOON, 1)
    with bench.reading() as session:
        found = [(each.app, each.number, each.words) for each in next_up(session, limit=2)]
    assert found == [("third", 1, both), ("fourth", 1, f"1 build is before it; {both}")]


def test_an_app_that_just_ran_is_behind_those_that_waited_meanwhile(bench: Bench) -> None:
    web, other = bench.app("web"), bench.app("other")
    first = bench.ask(web)
    bench.commit()
    behind = bench.ask(web)
    waited = bench.ask(other)
    assert bench.run(first).state is DeploymentState.SUCCESS
    assert [told(bench, each)[1] for each in (waited, behind)] == [1, 2]


def test_the_deployments_of_one_app_wait_for_each_other(bench: Bench) -> None:
    app = bench.app()
    first, second = bench.ask(app), bench.ask(app)
    assert told(bench, second) == ("deployment #1 of this app comes first", None)
    assert told(bench, first) == (SOON, 1)
    begun(bench, app)
    assert told(bench, second) == ("deployment #1 of this app is running", None)
    assert told(bench, first) == (None, None)


def test_a_recovery_comes_first(bench: Bench) -> None:
    app = bench.app()
    build, recovery = bench.ask(app), ask(bench, app, Trigger.RECOVERY)
    assert told(bench, recovery) == (SOON, 1)
    assert told(bench, build) == ("deployment #2 of this app comes first", None)


def test_pushes_of_one_branch_have_one_place(bench: Bench) -> None:
    app = bench.app()
    pushes = [bench.push(app), bench.push(app)]
    assert [told(bench, each) for each in pushes] == [(SOON, 1), (SOON, 1)]


def test_missing_workers_are_told(bench: Bench) -> None:
    waiting = bench.ask(bench.app())
    note_workers(bench, 0)
    assert told(bench, waiting) == (NO_WORKER, 1)
    note_workers(bench, 2, ago=2 * SILENT_AFTER)
    assert told(bench, waiting) == (UNKNOWN, 1)


def test_what_is_over_waits_for_nothing(bench: Bench) -> None:
    done = bench.deploy(bench.app())
    assert told(bench, done.id or 0) == (None, None)
