"""The outbox is filled beside the change it tells."""

from contextlib import suppress
from datetime import timedelta

from jobs.records.statuses import announce, postpone, settle
from jobs.states import GitHubState
from jobs.storage.models import Deployment, now
from tests.jobs.bench import Bench


def test_a_status_is_rolled_back_with_its_change(bench: Bench) -> None:
    deployment = bench.ask(bench.app(), sha="a" * 40)
    with suppress(ZeroDivisionError), bench.writing() as session:
        announce(session, session.get_one(Deployment, deployment), "running")
        session.flush()
        raise ZeroDivisionError
    assert len(bench.statuses(deployment)) == 1


def test_a_new_status_is_due_at_once(bench: Bench) -> None:
    deployment = bench.ask(bench.app(), sha="a" * 40)
    (status,) = bench.statuses(deployment)
    assert status.next_attempt_at is not None
    assert status.next_attempt_at <= now()
    assert (status.state, status.description) == (GitHubState.PENDING, "Deployment #1: queued")


def test_a_commit_that_is_not_known_has_none(bench: Bench) -> None:
    assert bench.statuses(bench.ask(bench.app())) == []


def test_settled_and_postponed_ones_count_their_attempts(bench: Bench) -> None:
    deployment = bench.ask(bench.app(), sha="a" * 40)
    (status,) = bench.statuses(deployment)
    later = now() + timedelta(minutes=5)
    with bench.writing() as session:
        postpone(session, status.id or 0, until=later, error="x" * 999)
    (status,) = bench.statuses(deployment)
    assert (status.attempts, status.next_attempt_at, len(status.error)) == (1, later, 500)
    with bench.writing() as session:
        settle(session, status.id or 0, posted_at=now())
    (status,) = bench.statuses(deployment)
    assert (status.attempts, status.next_attempt_at, status.error) == (2, None, "")
