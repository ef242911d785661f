"""The drawn rounds: every fault, at every step, and the same rounds for the same seed."""

from collections import defaultdict

import pytest

from tests.faults.__main__ import ENGINE_ONE_IN
from tests.faults.moments import STEPS
from tests.faults.rounds import SLOW_ONE_IN, draw
from tests.faults.strikes import ENGINE_FAULTS, FAULTS, LONG_FAULTS

ALL = {**FAULTS, **LONG_FAULTS, **ENGINE_FAULTS}


def test_the_same_seed_draws_the_same_rounds_and_a_higher_count_only_appends() -> None:
    few, many = (list(draw(FAULTS, seed="one", count=count)) for count in (30, 100))
    assert many[:30] == few
    assert many != list(draw(FAULTS, seed="two", count=100))


@pytest.mark.parametrize("count", [30, 100, 500])
def test_no_step_of_a_fault_is_drawn_twice_before_all_of_them_were(count: int) -> None:
    steps = defaultdict(list)
    for one in draw(ALL, seed="any", count=count):
        steps[one.fault].append(one.step)
    assert all(len(set(of[:7])) == min(len(of), len(STEPS)) for of in steps.values())


@pytest.mark.parametrize("seed", ["keystone", "another", "a third"])
def test_three_hundred_rounds_strike_at_every_step(seed: str) -> None:
    on_own = 300 // ENGINE_ONE_IN
    drawn = [
        *draw({**FAULTS, **LONG_FAULTS}, seed=seed, count=300 - on_own),
        *draw(ENGINE_FAULTS, seed=seed, count=on_own),
    ]
    at_a_step = [name for name, fault in FAULTS.items() if fault.weight > 1]
    for name in (*at_a_step, *ENGINE_FAULTS):
        assert {one.step for one in drawn if one.fault == name} == set(STEPS), name


def test_every_fault_is_drawn_and_slow_ones_seldom() -> None:
    drawn = list(draw(FAULTS, seed="any", count=200))
    assert {one.fault for one in drawn} == FAULTS.keys()
    slow = [one for one in drawn if FAULTS[one.fault].is_slow]
    assert len(slow) == 200 // SLOW_ONE_IN
    assert {one.fault for one in draw(ENGINE_FAULTS, seed="any", count=50)} == ENGINE_FAULTS.keys()


@pytest.mark.parametrize("name", ["web killed", "worker paused"])
def test_a_single_fault_can_be_drawn_whether_slow_or_not(name: str) -> None:
    drawn = list(draw({name: FAULTS[name]}, seed="any", count=len(STEPS)))
    assert {one.step for one in drawn} == set(STEPS)
