"""switch: the traffic moves, and only what answered through the router is a success."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from jobs.errors import RouterError, StorageError
from jobs.states import DeploymentState, StepName, StepState
from jobs.storage.models import App, Certificate, DomainPort, now
from tests.fakes import Behaviour
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def when_it_is_seen(bench: Bench, act: Callable[[], None]) -> None:
    """Do something at each look at the new container through the router, before the record."""

    def look(about: str) -> None:
        if about.startswith("127.0.0.1"):
            act()

    bench.world.probe.on("look", look)


def lost(statement: str) -> OperationalError:
    """Make the error of a connection that breaks while an answer is waited for."""
    return OperationalError(statement, {}, ConnectionResetError())


def test_the_release_must_answer_through_the_router_before_its_success(
    bench: Bench, app: App
) -> None:
    states = []

    def look(about: str) -> None:
        if about.startswith("127.0.0.1"):
            states.append((about, bench.deployment(1).state, bench.serving(app) is not None))

    bench.world.probe.on("look", look)
    bench.deploy(app)
    assert states == [(f"127.0.0.1:{app.host_port}", DeploymentState.RUNNING, True)]


def test_the_slots_take_turns(bench: Bench, app: App) -> None:
    for _ in range(3):
        bench.deploy(app)
    slots = [call.split()[1] for call in bench.world.calls("switch")]
    assert slots == [f"{app.host_port}/{slot}" for slot in "aba"]


def test_a_database_that_fails_at_the_last_moment_leads_the_traffic_back(
    bench: Bench, app: App
) -> None:
    bench.deploy(app)
    old = bench.serving(app)
    second = bench.push(app)

    def fail() -> None:
        raise StorageError("the database did not answer")

    when_it_is_seen(bench, fail)
    assert bench.run(second).state is DeploymentState.ERROR
    assert bench.serving(app) == old


def test_a_success_whose_record_was_made_and_never_answered_is_one(
    bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.deploy(app)
    second = bench.push(app)
    commit = Session.commit

    def lose_the_answer(session: Session) -> None:
        commit(session)
        monkeypatch.undo()
        raise lost("COMMIT")

    when_it_is_seen(bench, lambda: monkeypatch.setattr(Session, "commit", lose_the_answer))
    done = bench.run(second)
    assert done.state is DeploymentState.SUCCESS
    assert bench.steps(second)[StepName.RETIRE] is StepState.SUCCESS
    assert bench.running_of(first.id or 0) == []
    assert [bench.serving(app)] == bench.containers_of(second)


def test_a_success_that_the_database_tells_of_late_keeps_its_container(
    bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.deploy(app)
    second = bench.push(app)
    commit, execute = Session.commit, Session.exec

    def fail_once(_session: Session, *_args: object, **_more: object) -> None:
        monkeypatch.setattr(Session, "exec", execute)
        raise lost("SELECT")

    def lose_the_answer(session: Session) -> None:
        commit(session)
        monkeypatch.setattr(Session, "commit", commit)
        monkeypatch.setattr(Session, "exec", fail_once)
        raise lost("COMMIT")

    when_it_is_seen(bench, lambda: monkeypatch.setattr(Session, "commit", lose_the_answer))
    assert bench.run(second).state is DeploymentState.SUCCESS
    bench.reconcile()
    assert [bench.serving(app)] == bench.containers_of(second)


def test_while_the_database_does_not_tell_which_is_live_both_go_on(
    bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.deploy(app)
    second = bench.push(app)

    def fail(_session: Session, *_args: object, **_more: object) -> None:
        raise lost("SELECT")

    when_it_is_seen(bench, lambda: monkeypatch.setattr(Session, "exec", fail))
    with pytest.raises(StorageError):
        bench.run(second)
    monkeypatch.undo()
    assert len(bench.containers_of(first.id or 0)) == len(bench.containers_of(second)) == 1


def test_a_route_that_cannot_be_put_back_is_left_to_the_watcher(bench: Bench, app: App) -> None:
    bench.deploy(app)
    old = bench.serving(app)
    second = bench.push(app)

    def break_the_router() -> None:
        bench.world.router.down = True
        raise RouterError("the router does not answer")

    when_it_is_seen(bench, break_the_router)
    assert bench.run(second).state is DeploymentState.ERROR
    assert "the watcher will" in bench.log(second)
    bench.world.router.down = False
    bench.reconcile()
    assert bench.serving(app) == old


def test_an_app_on_every_address_is_looked_at_on_this_machine(bench: Bench, app: App) -> None:
    settings = bench.runtime.settings.model_copy(update={"app_bind": "0.0.0.0"})
    bench.runtime = replace(bench.runtime, settings=settings)
    bench.deploy(app)
    assert bench.world.calls("look")[-1] == f"look 127.0.0.1:{app.host_port}"


def test_an_app_that_sends_visitors_to_https_is_asked_as_by_https(bench: Bench) -> None:
    app = bench.app(domains=["app.example.com"], health_status="200", health_timeout_s=1)
    bench.world.engine.behaviour = Behaviour(insists_on_https=True)
    with bench.writing() as session:
        session.add(DomainPort(scheme="https", port=443))
    assert bench.run(bench.push(app)).state is DeploymentState.FAILURE
    with bench.writing() as session:
        session.add(Certificate(domain="*.example.com", sealed=b"", not_after=now()))
    # On its own port the router says that a visitor came by HTTP: there it answers too.
    assert bench.run(bench.push(app)).state is DeploymentState.SUCCESS
