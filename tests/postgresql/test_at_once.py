"""What SQLite's one writer at a time rules out: processes that write at the same moment."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.deployment.claims import claim_next
from jobs.errors import CancelledError, ConflictError, LeaseLostError, SupersededError
from jobs.records.apps import remove_app
from jobs.records.catch_up import take_turn
from jobs.records.deliveries import Envelope, accept_push
from jobs.records.deployments import HeldLease, Live, abandon, begin, cancel, go_live
from jobs.records.leases import give_back, take_over
from jobs.records.pushes import judge
from jobs.records.tokens import create_api_token
from jobs.records.users import change_user
from jobs.records.variables import set_variables
from jobs.rules.variables import Variable
from jobs.states import DeploymentState, OnNewPush, Role
from jobs.storage.models import App, Deployment, EnvironmentVariable, Lease, Repository, User
from tests.jobs.bench import TESTER, Bench, push_of
from tests.postgresql.others import MANY, MOST, Others

Act = Callable[[Session], None]
LIVE = Live(1, "c" * 64, "10.201.0.2:8000", "a")


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def begun(bench: Bench, app: App) -> int:
    """Queue a push and begin it; give the id of its deployment."""
    deployment = bench.push(app)
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, "worker:1")
        assert claim is not None
        begin(session, claim.held)
    return deployment


# --- Many at the same moment -----------------------------------------------------------------


def test_one_delivery_that_arrives_twenty_times_makes_one_deployment(
    bench: Bench, app: App, others: Others
) -> None:
    push = push_of(bench, "a" * 40)
    outcomes = others.answers(
        lambda other, _: other.deliver(push, guid="one", body="body").outcome, times=MOST
    )
    assert outcomes == {"queued": 1, "duplicate": MOST - 1}
    assert bench.states(app) == ["queued"]


def test_pushes_of_one_app_get_different_numbers(bench: Bench, app: App, others: Others) -> None:
    pushes = [push_of(bench, f"{number:040x}") for number in range(MOST)]
    receipts = others.at_once(
        lambda other, number: other.deliver(pushes[number], guid=f"{number}", body=f"{number}")
    )
    numbers = [row.number for receipt in receipts for row, _ in receipt.deployments]
    assert sorted(numbers) == list(range(1, MANY + 1))
    assert bench.fresh(app).last_deployment == MANY


def test_one_worker_gets_the_app_and_the_fence_only_grows(
    bench: Bench, app: App, others: Others
) -> None:
    fences = []
    for _ in range(3):
        bench.ask(app)

        def claim(other: Bench, number: int) -> int:
            with other.writing() as session:
                claim = claim_next(session, app.id or 0, f"worker:{number}")
                return claim.held.fence if claim else 0

        *nothing, fence = sorted(others.at_once(claim))
        assert nothing == [0] * (MANY - 1)
        fences.append(fence)
        with bench.writing() as session:
            give_back(session, HeldLease(app.id or 0, 0, fence))
    assert fences == sorted(set(fences))


def test_apps_get_different_ports_and_share_a_new_repository(bench: Bench, others: Others) -> None:
    ports = others.at_once(lambda other, number: other.app(f"app-{number}").host_port)
    assert sorted(ports) == list(range(20000, 20000 + MANY))
    with bench.reading() as session:
        assert len(session.exec(select(Repository)).all()) == 1


def test_a_port_that_all_want_is_given_to_one(others: Others) -> None:
    answers = others.answers(
        lambda other, number: other.app(f"app-{number}", host_port=20007).host_port
    )
    assert answers == {
        "20007": 1,
        "host_port: 20007 belongs to another app already": MANY - 1,
    }


def test_a_domain_that_all_want_is_given_to_one(bench: Bench, others: Others) -> None:
    answers = others.answers(
        lambda other, number: other.app(f"app-{number}", domains=["www.example.com"]).name
    )
    (winner,) = [answer for answer in answers if answer.startswith("app-")]
    assert answers[f"domains: www.example.com belongs to {winner} already"] == MANY - 1
    with bench.reading() as session:
        assert [app.name for app in session.exec(select(App)).all()] == [winner]


def test_of_many_watchers_one_looks_for_missed_pushes(app: App, others: Others) -> None:
    def take(other: Bench, _number: int) -> bool:
        with other.writing() as session:
            return take_turn(session, every=timedelta(minutes=10)) is not None

    assert sum(others.at_once(take)) == 1


def test_a_name_that_all_want_is_given_to_one(others: Others) -> None:
    def add(other: Bench, _number: int) -> str:
        with other.writing() as session:
            create_api_token(session, name="ci", role=Role.VIEWER, actor=TESTER)
            return "made"

    assert others.answers(add) == {
        "made": 1,
        "there is a token named ci already; revoke it first": MANY - 1,
    }


def test_a_variable_that_all_set_is_there_once(bench: Bench, app: App, others: Others) -> None:
    def assign(other: Bench, number: int) -> None:
        with other.writing() as session:
            mine = {"LEVEL": Variable(SecretStr(str(number)))}
            set_variables(
                session, session.get_one(App, app.id), mine, TESTER, vault=other.runtime.vault
            )

    others.at_once(assign)
    with bench.reading() as session:
        assert len(session.exec(select(EnvironmentVariable)).all()) == 1
        assert session.get_one(App, app.id).configuration == 1 + MANY


def test_two_admins_cannot_demote_each_other(bench: Bench, others: Others) -> None:
    with bench.writing() as session:
        for name in ("ada", "grace"):
            session.add(User(name=name, role=Role.ADMIN, password_hash="none"))

    def demote(other: Bench, number: int) -> str:
        with other.writing() as session:
            name = ("ada", "grace")[number]
            change_user(session, name, role=Role.VIEWER, disabled=None, actor=TESTER)
            return "demoted"

    answers = others.answers(demote, times=2)
    assert sorted(answer[-9:] for answer in answers) == ["demoted", "one first"]


# --- In the middle of what another one does --------------------------------------------------


def test_what_is_cancelled_while_it_is_claimed_does_not_run_on(
    bench: Bench, app: App, others: Others
) -> None:
    deployment = bench.push(app)
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, "worker:1")
        assert claim is not None
        cancelled = others.meanwhile(lambda other: stop(other, deployment))
        begin(session, claim.held)
    cancelled.result()
    row = bench.deployment(deployment)
    # Told to stop as one that runs: its worker ends it.
    assert (row.state, row.cancelled_by) == (DeploymentState.RUNNING, str(TESTER))
    assert (row.ended_at, row.reason) == (None, "")


def test_what_is_cancelled_while_a_newer_push_takes_its_place_ends_once(
    bench: Bench, app: App, others: Others
) -> None:
    old, _ = bench.push(app), bench.push(app)
    with bench.writing() as session:
        assert session.get_one(Deployment, old).state is DeploymentState.QUEUED
        cancelled = others.meanwhile(lambda other: stop(other, old))
        claim_next(session, app.id or 0, "worker:1")
    row, error = bench.deployment(old), cancelled.exception()
    assert isinstance(error, ConflictError) == (row.state is DeploymentState.SUPERSEDED)
    assert len(bench.statuses(old)) == 2


@pytest.mark.parametrize("who_is_first", ["worker", "person"])
def test_a_deployment_is_live_or_cancelled_and_never_both(
    bench: Bench, app: App, others: Others, who_is_first: str
) -> None:
    deployment = begun(bench, app)
    held = HeldLease(app.id or 0, deployment, 1)
    acts: list[Act] = [
        partial(go_live, held=held, live=LIVE),
        partial(stop, deployment_id=deployment),
    ]
    first, second = acts if who_is_first == "worker" else acts[::-1]
    with bench.writing() as session:
        first(session)
        session.flush()
        late = others.meanwhile(second)
    is_live = who_is_first == "worker"
    with pytest.raises(ConflictError if is_live else CancelledError):
        late.result()
    row = bench.deployment(deployment)
    assert (row.state is DeploymentState.SUCCESS) == (bench.fresh(app).live_slot == "a") == is_live
    assert (row.cancelled_by is None) == is_live


@pytest.mark.parametrize("who_is_first", ["worker", "push"])
def test_going_live_and_being_replaced_do_not_wait_for_each_other_in_a_circle(
    bench: Bench, others: Others, who_is_first: str
) -> None:
    app = bench.app(on_new_push=OnNewPush.REPLACE)
    held = HeldLease(app.id or 0, begun(bench, app), 1)
    push = push_of(bench, "b" * 40)
    envelope = Envelope("late", "push", "late", app.repository_id)

    def arrive(session: Session) -> None:
        accept_push(session, envelope, judge(session, push))

    acts: list[Act] = [partial(go_live, held=held, live=LIVE), arrive]
    first, second = acts if who_is_first == "worker" else acts[::-1]
    with bench.writing() as session:
        # A transaction begins with its first word.
        session.get_one(Deployment, held.deployment_id)
        late = others.meanwhile(second)
        first(session)
    assert isinstance(late.exception(), SupersededError | None)
    assert bench.states(app)[1] == "queued"


def test_a_worker_that_wakes_up_while_its_app_is_taken_over_is_refused(
    bench: Bench, app: App, others: Others
) -> None:
    deployment = begun(bench, app)
    with bench.writing() as session:
        lease = session.get_one(Lease, app.id)
        late = others.meanwhile(
            partial(go_live, held=HeldLease(app.id or 0, deployment, 1), live=LIVE)
        )
        take_over(session, lease, "watcher")
    with pytest.raises(LeaseLostError):
        late.result()
    assert bench.fresh(app).live_slot is None


def test_what_is_cancelled_while_it_is_given_up_ends_cancelled(
    bench: Bench, app: App, others: Others
) -> None:
    deployment = begun(bench, app)
    with bench.writing() as session:
        row = session.get_one(Deployment, deployment)
        cancelled = others.meanwhile(partial(stop, deployment_id=deployment))
        abandon(session, row, "the worker was killed")
    is_told = cancelled.exception() is None
    state = bench.deployment(deployment).state
    assert state is (DeploymentState.CANCELLED if is_told else DeploymentState.ERROR)


def test_an_app_that_goes_while_a_push_arrives_takes_no_other_with_it(
    bench: Bench, app: App, others: Others
) -> None:
    other_app = bench.app("api")
    push = push_of(bench, "a" * 40)
    envelope = Envelope("one", "push", "body", app.repository_id)
    with bench.writing() as session:
        remove_app(session, session.get_one(App, app.id), TESTER)
        session.flush()
        late = others.meanwhile(lambda other: accept_push(other, envelope, judge(other, push)))
    assert [name for _, name in late.result().deployments] == [other_app.name]


def stop(session: Session, deployment_id: int) -> None:
    """Have a person cancel a deployment."""
    cancel(session, session.get_one(Deployment, deployment_id), TESTER)
