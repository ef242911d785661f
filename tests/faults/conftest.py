"""The houses: one on the machine's engine, and one on an engine that may be broken itself."""

from collections.abc import Iterator

import pytest

from tests.faults.engine import own_engine
from tests.faults.house import House, a_house
from tests.faults.table import Table


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A house whose every part may be broken, save the engine."""
    with a_house() as house:
        yield house


@pytest.fixture(scope="module")
def house_with_engine() -> Iterator[House]:
    """A house with an engine of its own."""
    with own_engine() as engine, a_house(engine=engine, apps=("fir", "oak", "yew")) as house:
        yield house


@pytest.fixture(scope="module")
def table() -> Table:
    """The count of the module's rounds."""
    return Table()
