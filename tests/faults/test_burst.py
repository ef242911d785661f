"""Many simultaneous deliveries: every one is answered, each push is deployed once."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import MEASURED
from tests.faults.burst import burst
from tests.faults.house import House, a_house
from tests.faults.pushes import Pusher, Sent

pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="a house needs a disk of its own: run as root"),
]

APPS = tuple(f"app-{number}" for number in range(10))
PUSHES = 200
COPIES = 50
GITHUB_WAITS_S = 10.0


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house with ten apps."""
    with a_house(apps=APPS) as house:
        yield house


def test_two_hundred_pushes_at_once_over_ten_apps(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    seen = burst(house, pushes=PUSHES, seed="burst")
    told = f"{PUSHES} pushes at once over {len(APPS)} apps: 99 % answered within {seen.p99_s:.2f} s"
    record_property(MEASURED, told)
    assert seen.verdict.problems == []
    assert seen.p99_s < GITHUB_WAITS_S


def test_the_same_delivery_fifty_times_at_once(house: House) -> None:
    pusher = Pusher(house.projects)
    first = pusher.commit(house.projects[0])
    copies = [
        Sent(first.app, first.commit_sha, first.pushed_at, first.delivery) for _ in range(COPIES)
    ]
    pusher.deliver_at_once(copies)
    assert sorted(sent.status or 0 for sent in copies) == [200] * (COPIES - 1) + [202]
    (deployment,) = {sent.deployments for sent in copies}
    assert house.keystone.wait_for(deployment[0])["state"] == "success"
    assert house.records.live()[first.app].commit_sha == first.commit_sha
