"""Rounds drawn once and for all: whatever breaks, nothing is lost, doubled, stuck or failed.

`make faults ROUNDS=200` plays more of them.
"""

import os
from collections.abc import Callable

import pytest

from tests.conftest import MEASURED
from tests.faults.house import House
from tests.faults.rounds import Round, draw, play
from tests.faults.strikes import ENGINE_FAULTS, FAULTS
from tests.faults.table import Table

pytestmark = [
    pytest.mark.docker,
    # The house is built in the first test's time.
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="a house needs disks of its own: run as root"),
]

# This one has every kind of fault among its first rounds, and kills in each of the steps.
SEED = os.environ.get("SEED") or "ci-58125"
ROUNDS = 24
ENGINE_ROUNDS = 2


@pytest.mark.parametrize("drawn", list(draw(FAULTS, seed=SEED, count=ROUNDS)), ids=str)
def test_whatever_breaks_everything_comes_right(house: House, table: Table, drawn: Round) -> None:
    verdict = play(house, FAULTS[drawn.fault], drawn)
    table.add(drawn.fault, verdict)
    assert verdict.problems == []


@pytest.mark.parametrize(
    "drawn", list(draw(ENGINE_FAULTS, seed=SEED, count=ENGINE_ROUNDS)), ids=str
)
def test_even_if_it_is_the_docker_engine(
    house_with_engine: House, table: Table, drawn: Round
) -> None:
    verdict = play(house_with_engine, ENGINE_FAULTS[drawn.fault], drawn)
    table.add(drawn.fault, verdict)
    assert verdict.problems == []


def test_afterwards_the_doctor_finds_nothing_and_github_knows_everything(
    house: House,
    house_with_engine: House,
    table: Table,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(MEASURED, f"rounds of SEED={SEED}:\n{table}")
    assert house.ailments() == []
    assert house_with_engine.ailments() == []
