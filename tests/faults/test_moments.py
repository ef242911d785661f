"""A fault strikes at its moment; if the moment never comes, it raises an error."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.moments import MissedError, Moment, striking
from tests.faults.records import Records

TABLES = """
CREATE TABLE apps (id INTEGER, name TEXT);
CREATE TABLE deployments (id INTEGER, app_id INTEGER);
CREATE TABLE steps (deployment_id INTEGER, name TEXT);
INSERT INTO apps VALUES (1, 'web');
INSERT INTO deployments VALUES (6, 1), (7, 1);
INSERT INTO steps VALUES (6, 'switch'), (7, 'build');
"""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """The records of an earlier deployment, and of one that has reached its build step."""
    file = tmp_path / "keystone.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(TABLES)
    return Records(file)


def test_a_fault_strikes_once_the_step_is_seen(records: Records) -> None:
    struck: list[str] = []
    with striking(records, Moment("web", "build", after=6), lambda: struck.append("once")):
        pass
    assert struck == ["once"]


@pytest.mark.parametrize("moment", [Moment("web", "switch", 6), Moment("api", "build", 6)])
def test_a_moment_that_never_comes_is_missed(records: Records, moment: Moment) -> None:
    struck: list[str] = []
    with (
        pytest.raises(MissedError, match=f"{moment.app} came to {moment.step}"),
        striking(records, moment, lambda: struck.append("never"), within_s=0.05),
    ):
        pass
    assert not struck


def test_the_error_of_a_strike_that_hits_nothing_is_raised(records: Records) -> None:
    def strike() -> None:
        raise MissedError("nobody is there")

    with (
        pytest.raises(MissedError, match="nobody is there"),
        striking(records, Moment("web", "build", after=6), strike),
    ):
        pass
