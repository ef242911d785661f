"""The benchmarks in their shortest form: they run, and no request fails."""

from collections.abc import Iterator

import pytest

from tests.benchmarks import push_to_live, receiver, refusals, restarts, router_speed, soak, swaps
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, percentile

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """A Keystone that the tests share."""
    with standing(by_router=True) as stand:
        yield stand


def test_a_push_is_timed_from_end_to_end(stand: Stand) -> None:
    times = push_to_live.measure(stand, None, rounds=1)
    assert len(times.recorded) == len(times.seen) == 1
    assert all(len(found) == 1 for found in times.steps.values())
    assert sum(found[0] for found in times.steps.values()) <= times.recorded[0]


def test_no_request_fails_during_swaps_nor_when_a_version_is_unhealthy(stand: Stand) -> None:
    seen = swaps.measure(stand, swaps=2, crowd=False, quiet_s=1, slow_ms=1500)
    assert [each.failures for each in seen] == [[], []]
    assert all(each.load.times for each in seen)


def test_no_request_fails_and_no_push_is_refused_while_keystone_comes_and_goes(
    stand: Stand,
) -> None:
    counts = {"stopped and started": 1, "killed": 1, "router reloaded": 2, "swapped": 1}
    seen = restarts.measure(stand, counts, pushes=10, crowd=False, slow_ms=1500)
    assert seen.load.failures == []
    # On a busy machine Keystone may need longer to come back than requests wait.
    assert seen.hasty_refusals == []
    assert seen.lost == []
    assert seen.events == counts


def test_deployments_in_a_row_keep_the_right_releases_and_touch_nothing_else(stand: Stand) -> None:
    with soak.strangers() as stranger:
        seen = soak.measure(stand, stranger, deployments=soak.KEPT + 2)
    assert len(seen.levels) == soak.KEPT + 2
    assert seen.is_level
    assert seen.missing == []


def test_every_push_of_a_burst_is_accepted(stand: Stand) -> None:
    for series in receiver.measure(stand, count=5, burst=64):
        assert series.times
        assert set(series.statuses) <= receiver.ACCEPTED, series.name


def test_every_bad_delivery_is_refused_in_the_same_words(stand: Stand) -> None:
    project = stand.project("refused", git_url=f"file://{stand.folder}/none", token=None)
    times = refusals.measure(stand, refusals.kinds(project), turns=4)
    assert {len(found) for found in times.values()} == {4}


def test_no_request_is_lost_that_comes_when_the_app_closes_idle_connections() -> None:
    posts = router_speed.measure_posts(5_000)
    assert posts.is_good, posts
    assert posts.gets


def test_the_router_is_compared_with_a_plain_haproxy() -> None:
    speeds = router_speed.measure_gets(rounds=1, seconds=1)
    assert speeds.ratio > 0


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert median(values) == 50
    assert percentile(values, 99) == 99
    assert percentile([7.0], 99) == 7
