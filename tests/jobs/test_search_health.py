"""How the search for missed pushes is told as a whole: on the pages and by `keystone doctor`."""

from datetime import timedelta

import pytest

from jobs.reads.repositories import Late, SearchHealth, search_health
from jobs.states import CatchUpWay
from jobs.storage.models import App, CatchUp, now
from tests.jobs.bench import Bench


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def told(bench: Bench, *, every_minutes: int = 10) -> SearchHealth:
    with bench.reading() as session:
        return search_health(session, every_minutes=every_minutes)


def note(bench: Bench, app: App, **fields: object) -> None:
    row = CatchUp(repository_id=app.repository_id, way=CatchUpWay.DELIVERIES, looked_at=now())
    with bench.writing() as session:
        for name, value in fields.items():
            setattr(row, name, value)
        session.merge(row)


def test_nothing_to_tell_yet(bench: Bench, app: App) -> None:
    assert told(bench) == SearchHealth()
    assert told(bench).words == "no repository was asked yet"


def test_that_it_is_switched_off_is_told(bench: Bench, app: App) -> None:
    assert "KEYSTONE_CATCH_UP_MINUTES is 0" in told(bench, every_minutes=0).words


def test_each_way_is_counted(bench: Bench, app: App) -> None:
    other = bench.app("api", repository="octo/api")
    note(bench, app, settled_until=now())
    note(bench, other, way=CatchUpWay.BRANCH_HEAD, settled_until=now(), problem="no rights")
    health = told(bench)
    assert health.words.startswith(
        "2 repositories asked, 1 by GitHub's list of deliveries, 1 by the branch's head; last at"
    )
    assert health.ways == {CatchUpWay.DELIVERIES: 1, CatchUpWay.BRANCH_HEAD: 1}
    assert health.late == ()


def test_a_search_that_comes_to_nothing_for_long_is_named(bench: Bench, app: App) -> None:
    note(bench, app, problem="it is down", settled_until=now() - timedelta(minutes=30))
    assert told(bench).late == ()
    note(bench, app, problem="it is down", settled_until=now() - timedelta(hours=2))
    assert told(bench).late == (Late("octo/web", "it is down"),)
    assert [str(late) for late in told(bench).late] == ["octo/web: it is down"]


def test_down_time_of_our_own_is_no_trouble(bench: Bench, app: App) -> None:
    long_ago = now() - timedelta(days=9)
    note(bench, app, looked_at=long_ago, settled_until=long_ago)
    assert told(bench).late == ()
