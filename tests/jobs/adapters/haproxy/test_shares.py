"""The router's shares as numbers."""

import pytest

from jobs.adapters.haproxy.shares import FEWEST_PLACES, MOST_PLACES, Shares, most_places

GB = 1024**3
PLENTY = 10**9


@pytest.mark.parametrize(
    ("files", "ports", "memory", "places"),
    [
        (PLENTY, 1000, 1024 * GB, MOST_PLACES),
        (20_000, 1000, 24 * GB, 9436),
        (PLENTY, 1000, 1 * GB, 2730),
        (PLENTY, 1000, 4 * GB, 10_922),
        (1024, 1000, 24 * GB, FEWEST_PLACES),
        (PLENTY, 1000, 1, FEWEST_PLACES),
    ],
)
def test_there_are_as_many_places_as_files_and_memory_allow(
    files: int, ports: int, memory: int, places: int
) -> None:
    assert most_places(files=files, ports=ports, memory=memory) == places


@pytest.mark.parametrize("places", [FEWEST_PLACES, 2730, MOST_PLACES])
def test_each_share_is_smaller_than_the_next_larger_one(places: int) -> None:
    shares = Shares(places)
    assert 0 < shares.source_when_busy < shares.source <= shares.app_when_busy
    assert shares.app_when_busy < shares.app < shares.way_in < shares.visitors < places
    # What HTTP/2 may ask of apps at once fits beside a connection to an app for each visitor.
    assert 2 * shares.visitors + shares.busy <= 2 * places
