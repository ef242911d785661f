"""A deployment's life as it is written down: only along the arrows, and what was promised holds."""

import pytest
from sqlmodel import select

from jobs.deployment.claims import claim_next
from jobs.errors import BacklogError, CancelledError, ConflictError, InvalidTransitionError
from jobs.records.audit import Tag
from jobs.records.deployments import (
    HeldLease,
    Live,
    abandon,
    begin,
    cancel,
    end_step,
    finish,
    go_live,
    record_commit,
    requeue,
    start_step,
)
from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.states import ActorKind, DeploymentState, GitHubState, Kind, StepName, StepState, Trigger
from jobs.storage.models import App, AuditEvent, Deployment
from tests.jobs.bench import TESTER, Bench

LIVE = Live(release_id=1, container_id="c" * 64, address="10.201.0.2:8000", slot="a")


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def running(bench: Bench, app: App, *, sha: str = "a" * 40) -> HeldLease:
    bench.ask(app, sha=sha)
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, "worker:1")
    assert claim is not None
    with bench.writing() as session:
        begin(session, claim.held)
    return claim.held


class TestRequesting:
    def test_it_is_queued_with_what_was_asked_for(self, bench: Bench, app: App) -> None:
        wanted = Request(
            trigger=Trigger.MANUAL, ref="main", commit_message="x" * 9000, author="y" * 900
        )
        with bench.writing() as session:
            row = request(session, app, wanted, Actor(ActorKind.TOKEN, "ci", "10.0.0.1"))
        assert (row.state, row.number, row.kind) == (DeploymentState.QUEUED, 1, Kind.INITIAL)
        assert (len(row.commit_message), len(row.author)) == (2000, 200)
        assert row.actor == "token:ci"

    def test_far_too_many_are_refused_until_some_are_done(
        self, bench: Bench, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.records.requests.MOST_QUEUED", 2)
        first, _ = bench.ask(app), bench.ask(app)
        with pytest.raises(BacklogError, match="2 deployments of web wait already"):
            bench.ask(app)
        assert bench.ask(bench.app("other"))
        bench.cancel(first)
        assert bench.ask(app)

    def test_who_asked_is_on_record(self, bench: Bench, app: App) -> None:
        with bench.writing() as session:
            request(
                session,
                app,
                Request(Trigger.MANUAL, "main"),
                Actor(ActorKind.TOKEN, "ci", "10.0.0.1"),
            )
        with bench.reading() as session:
            tag = Tag.DEPLOYMENT_REQUESTED
            event = session.exec(select(AuditEvent).where(AuditEvent.tag == tag)).one()
        assert (event.actor, event.address, event.target) == (
            "token:ci",
            "10.0.0.1",
            "deployment:1",
        )

    def test_after_one_went_live_it_is_an_update(self, bench: Bench, app: App) -> None:
        first = running(bench, app)
        second = bench.ask(app)
        assert bench.deployment(second).kind is Kind.INITIAL
        with bench.writing() as session:
            go_live(session, first, LIVE)
        assert bench.deployment(bench.ask(app)).kind is Kind.UPDATE


class TestEnding:
    def test_going_live_is_one_stroke(self, bench: Bench, app: App) -> None:
        held = running(bench, app)
        with bench.writing() as session:
            start_step(session, held, StepName.SWITCH)
        with bench.writing() as session:
            go_live(session, held, LIVE)
        fresh = bench.fresh(app)
        assert fresh.live_deployment_id == held.deployment_id
        assert (fresh.live_address, fresh.live_slot) == (LIVE.address, LIVE.slot)
        assert bench.deployment(held.deployment_id).state is DeploymentState.SUCCESS
        assert bench.steps(held.deployment_id) == {StepName.SWITCH: StepState.SUCCESS}
        assert [status.state for status in bench.statuses(held.deployment_id)][-1] is (
            GitHubState.SUCCESS
        )

    def test_what_is_over_stays_as_it_is(self, bench: Bench, app: App) -> None:
        held = running(bench, app)
        with bench.writing() as session:
            finish(session, held, DeploymentState.FAILURE, "x" * 9000)
        done = bench.deployment(held.deployment_id)
        assert len(done.reason) == 1000
        with pytest.raises(InvalidTransitionError), bench.writing() as session:
            finish(session, held, DeploymentState.ERROR, "again")
        with pytest.raises(InvalidTransitionError), bench.writing() as session:
            begin(session, held)

    def test_open_steps_end_with_it(self, bench: Bench, app: App) -> None:
        held = running(bench, app)
        with bench.writing() as session:
            start_step(session, held, StepName.CHECKOUT)
            end_step(session, held, StepName.CHECKOUT, StepState.SUCCESS)
            start_step(session, held, StepName.BUILD)
        with bench.writing() as session:
            finish(session, held, DeploymentState.FAILURE, "the build failed")
            end_step(session, held, StepName.BUILD, StepState.SUCCESS)
        assert bench.steps(held.deployment_id) == {
            StepName.CHECKOUT: StepState.SUCCESS,
            StepName.BUILD: StepState.FAILURE,
        }


class TestCancelling:
    def test_a_queued_one_at_once(self, bench: Bench, app: App) -> None:
        deployment = bench.ask(app, sha="a" * 40)
        bench.cancel(deployment)
        found = bench.deployment(deployment)
        assert (found.state, found.reason) == (
            DeploymentState.CANCELLED,
            "cancelled by user:ada",
        )
        assert [status.state for status in bench.statuses(deployment)][-1] is GitHubState.ERROR

    def test_a_running_one_is_asked_to_stop(self, bench: Bench, app: App) -> None:
        held = running(bench, app)
        bench.cancel(held.deployment_id)
        assert bench.deployment(held.deployment_id).state is DeploymentState.RUNNING
        with pytest.raises(CancelledError), bench.writing() as session:
            go_live(session, held, LIVE)
        assert bench.fresh(app).live_container_id is None

    @pytest.mark.parametrize("how", ["finish", "abandon"])
    def test_however_it_ends_then_it_ends_cancelled(self, bench: Bench, app: App, how: str) -> None:
        held = running(bench, app)
        bench.cancel(held.deployment_id)
        with bench.writing() as session:
            if how == "finish":
                finish(session, held, DeploymentState.FAILURE, "the build failed")
            else:
                abandon(session, session.get_one(Deployment, held.deployment_id), "killed")
        done = bench.deployment(held.deployment_id)
        assert (done.state, done.reason) == (DeploymentState.CANCELLED, "cancelled by user:ada")

    @pytest.mark.parametrize("state", [state for state in DeploymentState if state.is_over])
    def test_what_is_over_is_a_conflict(
        self, bench: Bench, app: App, state: DeploymentState
    ) -> None:
        deployment = bench.ask(app)
        with bench.writing() as session:
            session.get_one(Deployment, deployment).state = state
        with pytest.raises(ConflictError, match=f"is over already: {state}"):
            bench.cancel(deployment)
        assert bench.deployment(deployment).cancelled_by is None

    def test_a_stale_look_at_it_does_not_count(self, bench: Bench, app: App) -> None:
        held = running(bench, app)
        with bench.writing() as session:
            row = session.get_one(Deployment, held.deployment_id)
        with bench.writing() as session:
            go_live(session, held, LIVE)
        with bench.writing() as session:
            session.add(row)
            with pytest.raises(ConflictError):
                cancel(session, row, TESTER)


def test_one_that_waits_again_begins_afresh(bench: Bench, app: App) -> None:
    held = running(bench, app)
    with bench.writing() as session:
        start_step(session, held, StepName.CHECKOUT)
    with bench.writing() as session:
        requeue(session, session.get_one(Deployment, held.deployment_id))
    found = bench.deployment(held.deployment_id)
    assert (found.state, found.started_at, found.attempts) == (DeploymentState.QUEUED, None, 1)
    with bench.writing() as session:
        begin(session, held)
        start_step(session, held, StepName.CHECKOUT)
    assert bench.steps(held.deployment_id) == {StepName.CHECKOUT: StepState.RUNNING}
    assert bench.deployment(held.deployment_id).attempts == 2


def test_the_payloads_words_come_before_the_repositorys(bench: Bench, app: App) -> None:
    deployment = bench.push(app, message="from the payload")
    with bench.writing() as session:
        claim = claim_next(session, app.id or 0, "worker:1")
        assert claim is not None
        record_commit(
            session, claim.held, sha="b" * 40, message="from the repository", author="Eve"
        )
    found = bench.deployment(deployment)
    assert (found.commit_message, found.author) == ("from the payload", "Ada")


def test_a_branch_whose_commit_turns_out_is_told_to_github_then(bench: Bench, app: App) -> None:
    held = running(bench, app, sha="")
    assert bench.statuses(held.deployment_id) == []
    with bench.writing() as session:
        record_commit(session, held, sha="b" * 40, message="m", author="a")
    (status,) = bench.statuses(held.deployment_id)
    assert status.state is GitHubState.PENDING
