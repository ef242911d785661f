"""Two clicks are one deployment, from whichever tab they come; two wishes are two."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from jobs.records.once import key_of, request_once
from jobs.records.requests import Request
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import App, Deployment, now
from tests.jobs.bench import TESTER, Bench

Ask = Callable[..., int]


@pytest.fixture
def ask(bench: Bench) -> Ask:
    app = bench.app()

    def ask(ref: str = "main", *, after: int | None = 0) -> int:
        wanted = Request(Trigger.MANUAL, ref, request_key=key_of(ref, after))
        with bench.writing() as session:
            return request_once(session, session.get_one(App, app.id), wanted, TESTER).id or 0

    return ask


def set_back(bench: Bench, deployment_id: int, ago: timedelta) -> None:
    with bench.writing() as session:
        row = session.get_one(Deployment, deployment_id)
        row.state, row.queued_at = DeploymentState.SUCCESS, now() - ago


def test_two_requests_after_the_same_deployment_are_one_deployment(ask: Ask) -> None:
    assert ask() == ask()


def test_a_request_after_that_deployment_is_another_one(ask: Ask) -> None:
    assert ask(after=0) != ask(after=1)


def test_a_request_for_another_branch_is_another_deployment(ask: Ask) -> None:
    long = "x" * 200
    assert len({ask("main"), ask("next"), ask(f"{long}a"), ask(f"{long}b")}) == 4


def test_requests_without_after_are_separate_deployments(ask: Ask) -> None:
    assert ask(after=None) != ask(after=None)


def test_twenty_clicks_at_once_are_one(ask: Ask) -> None:
    with ThreadPoolExecutor(20) as clicks:
        assert len(set(clicks.map(lambda _: ask(), range(20)))) == 1


def test_a_click_just_after_the_end_is_still_the_same(bench: Bench, ask: Ask) -> None:
    first = ask()
    set_back(bench, first, timedelta(seconds=20))
    assert ask() == first


def test_a_page_left_open_for_a_day_deploys_again_and_again_once(bench: Bench, ask: Ask) -> None:
    first = ask()
    set_back(bench, first, timedelta(days=1))
    second = ask()
    assert second != first
    assert ask() == second
