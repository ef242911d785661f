"""The houses: one on the machine's engine, and one on an engine that faults may break."""

from collections.abc import Iterator

import pytest

from tests.faults.engine import own_engine
from tests.faults.house import House, a_house
from tests.faults.table import Table


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house in which faults may break every part except the engine."""
    with a_house() as house:
        yield house


@pytest.fixture(scope="module")
def house_with_engine() -> Iterator[House]:
    """A house with its own engine, which faults may break."""
    with own_engine() as engine, a_house(engine=engine, apps=("fir", "oak", "yew")) as house:
        yield house


@pytest.fixture(scope="module")
def table() -> Table:
    """The results of the module's rounds."""
    return Table()
