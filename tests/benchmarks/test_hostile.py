"""The hostile load in its shortest form: nothing crashes, and every request is answered."""

import pytest

from tests.benchmarks import hostile
from tests.benchmarks.attacks import Known, attacks
from tests.benchmarks.stand import standing

KNOWN = Known("ks_token", b"{}", {})


@pytest.mark.docker
def test_two_thousand_hostile_requests_break_nothing() -> None:
    with standing() as stand:
        seen = hostile.measure(stand, requests=1500, warm_up=500)
    assert sum(seen.answers.values()) == 2000
    assert (seen.broken, seen.tracebacks) == (0, 0), (seen.answers, seen.first_traceback)
    assert len({status for _, status in seen.answers}) > 8  # the requests got past the first check


def test_a_seed_plays_the_same_attacks_again() -> None:
    one, same, other = (attacks(seed, KNOWN) for seed in (1, 1, 2))
    first = [next(one) for _ in range(50)]
    assert first == [next(same) for _ in range(50)]
    assert first != [next(other) for _ in range(50)]
