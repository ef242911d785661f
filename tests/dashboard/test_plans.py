"""No page reads a whole table: what is quick with a thousand rows is quick with a million.

SQLite chooses its plans without looking at the rows: a small database shows those of a large one.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import WebSettings
from tests.benchmarks import pages
from tests.benchmarks.crowd import Crowd, fill
from tests.conftest import SECRET_KEY

SMALL = Crowd(
    apps=20, deployments=4000, releases=5, deliveries=12_000, steps=4000, audit_events=12_000
)
# These grow for ever; of the others there are as many as somebody has configured.
GROWING = "deployments|deliveries|steps|releases|audit_events|commit_statuses"
SCAN = re.compile(rf"SCAN ({GROWING})\b")
Asked = tuple[str, object]


@pytest.fixture(scope="module")
def runtime(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Runtime[WebSettings]]:
    folder = tmp_path_factory.mktemp("plans")
    shutil.copy(empty_database, folder / "keystone.db")
    runtime = open_runtime(WebSettings(data_dir=folder, secret_key=SECRET_KEY))
    runtime.database.close()
    fill(folder / "keystone.db", SMALL)
    yield runtime
    runtime.database.close()


@pytest.fixture(scope="module")
def asked(runtime: Runtime[WebSettings]) -> list[Asked]:
    """Every statement that the pages of the benchmark ask, with its values."""
    found: dict[str, object] = {}

    def listen(*arguments: object) -> None:
        found[str(arguments[2])] = arguments[3]

    event.listen(runtime.database.reader_engine, "before_cursor_execute", listen)
    pages.measure(runtime, pages.addresses(SMALL), rounds=1)
    event.remove(runtime.database.reader_engine, "before_cursor_execute", listen)
    return list(found.items())


def plan_of(connection: Connection, statement: str, values: object) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
    return [row[3] for row in rows]


def is_walk(statement: str) -> bool:
    """Whether it reads from an end of the table and stops, which may be called a scan too."""
    return " WHERE " not in " ".join(statement.split()) and "LIMIT" in statement


def test_no_statement_of_a_page_reads_a_growing_table_whole(
    runtime: Runtime[WebSettings], asked: list[Asked]
) -> None:
    assert len(asked) > 60
    guilty = []
    with runtime.database.reader_engine.connect() as connection:
        for statement, values in asked:
            plan = plan_of(connection, statement, values)
            if any(SCAN.match(line) for line in plan) and not is_walk(statement):
                guilty.append((statement, plan))
    assert guilty == []


def test_no_list_is_sorted_before_its_first_page_is_known(
    runtime: Runtime[WebSettings], asked: list[Asked]
) -> None:
    lists = [each for each in asked if re.search(r"ORDER BY \w+\.id DESC\s+LIMIT", each[0])]
    assert len(lists) > 10
    with runtime.database.reader_engine.connect() as connection:
        for statement, values in lists:
            plan = plan_of(connection, statement, values)
            assert not any("TEMP B-TREE FOR ORDER BY" in line for line in plan), (statement, plan)


def test_a_long_log_is_opened_by_every_address_of_it(
    runtime: Runtime[WebSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = SMALL.deployments - SMALL.apps
    opened = pages.measure_log(runtime, deployment, rounds=1, lines=2000)
    assert "2,000 lines" in capsys.readouterr().out
    page, lines, last, found, outline = opened
    assert min(page.length, lines.length, last.length) > 10_000
    assert 0 < found.length < outline.length


def test_the_overview_of_many_apps_is_small(runtime: Runtime[WebSettings]) -> None:
    (seen,) = pages.measure(runtime, [pages.OVERVIEW], rounds=1)
    assert 20_000 < seen.length <= pages.OVERVIEW_BYTES
