"""Rounds with a fixed seed: with every fault, nothing is lost, doubled, stuck or failed.

`make faults ROUNDS=300` plays more of them.
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
    # The first test's time includes building the house.
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="a house needs disks of its own: run as root"),
]

# The first rounds of this seed have all but four kinds of faults, among them every one that ends
# Keystone or its router, and a reboot.
SEED = os.environ.get("SEED") or "ci-41668"
ROUNDS = 26
ENGINE_ROUNDS = 2


@pytest.mark.parametrize("drawn", list(draw(FAULTS, seed=SEED, count=ROUNDS)), ids=str)
def test_no_push_is_lost_doubled_or_stuck_with_any_fault(
    house: House, table: Table, drawn: Round
) -> None:
    verdict = play(house, FAULTS[drawn.fault], drawn)
    table.add(drawn.fault, verdict)
    assert verdict.problems == []


@pytest.mark.parametrize(
    "drawn", list(draw(ENGINE_FAULTS, seed=SEED, count=ENGINE_ROUNDS)), ids=str
)
def test_no_push_is_lost_doubled_or_stuck_when_the_engine_fails(
    house_with_engine: House, table: Table, drawn: Round
) -> None:
    verdict = play(house_with_engine, ENGINE_FAULTS[drawn.fault], drawn)
    table.add(drawn.fault, verdict)
    assert verdict.problems == []


def test_after_all_rounds_the_doctor_finds_nothing_and_github_has_every_status(
    house: House,
    house_with_engine: House,
    table: Table,
    record_property: Callable[[str, object], None],
) -> None:
    record_property(MEASURED, f"rounds of SEED={SEED}:\n{table}")
    assert house.ailments() == []
    assert house_with_engine.ailments() == []
