"""What makes open pages look again: whatever somebody does, and whatever happens by itself."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from jobs.reads.waiting import SILENT_AFTER
from jobs.records.refusals import MOST_OF_REPOSITORY, Refused, keep_refusals
from jobs.records.statuses import postpone, settle
from jobs.rules.token_trouble import WARN_BEFORE
from jobs.states import CatchUpWay, ContainerState, DeploymentState, Refusal
from jobs.storage.models import CatchUp, Repository, Vitals, now
from receiver.follow_changes import LONGEST_REST_S, Changes
from tests.builders import WebRuntime, change_app_row, make_app, make_deployment

Write = Callable[[WebRuntime], object]
GB = 1000**3
STATUS = 1  # of the first deployment: it waits to be posted


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes(runtime: WebRuntime, clock: Clock) -> Changes:
    """A Keystone with an app and a deployment that is over, looked at once."""
    make_app(runtime)
    make_deployment(runtime, state=DeploymentState.SUCCESS)
    note(runtime)
    with runtime.database.writing() as session:
        session.add(CatchUp(repository_id=repository_id(runtime), way=CatchUpWay.DELIVERIES))
    changes = Changes(runtime.database, clock=clock)
    assert changes.look()
    assert not changes.look()
    return changes


def repository_id(runtime: WebRuntime) -> int:
    with runtime.database.reading() as session:
        return session.exec(select(Repository.id)).one() or 0


def note(runtime: WebRuntime, **fields: object) -> None:
    """Have the watcher write down how the machine is."""
    well: dict[str, Any] = {
        "at": now(),
        "workers": 2,
        "disk_free": 41 * GB,
        "disk_total": 100 * GB,
        "problems": {},
    }
    with runtime.database.writing() as session:
        session.merge(Vitals(**well | fields))


def change_row(
    runtime: WebRuntime, table: type[Repository] | type[CatchUp], **columns: object
) -> None:
    with runtime.database.writing() as session:
        row = session.exec(select(table)).one()
        for column, value in columns.items():
            setattr(row, column, value)


def try_status_again(runtime: WebRuntime) -> None:
    with runtime.database.writing() as session:
        postpone(session, STATUS, until=now(), error="GitHub answered 502")


def end_status(runtime: WebRuntime, **ending: Any) -> None:  # noqa: ANN401
    with runtime.database.writing() as session:
        settle(session, STATUS, **ending)


def refuse(runtime: WebRuntime, *, claimed: str = "octo/web", address: str = "192.0.2.1") -> None:
    refused = Refused(claimed, None, address, Refusal.WRONG_SIGNATURE, 1, now(), now())
    with runtime.database.writing() as session:
        keep_refusals(session, [refused])


BY_ITSELF: dict[str, Write] = {
    "no workers": lambda runtime: note(runtime, workers=0),
    "a part fails": lambda runtime: note(runtime, problems={"docker": "it does not answer"}),
    "the disk fills up": lambda runtime: note(runtime, disk_free=2 * GB),
    "the engine's disk fills up": lambda runtime: note(runtime, engine_free=2 * GB),
    "the watcher falls silent": lambda runtime: note(runtime, at=now() - 2 * SILENT_AFTER),
    "a container ends": lambda runtime: change_app_row(
        runtime, "web", container_state=ContainerState.EXITED
    ),
    "a container is unhealthy": lambda runtime: change_app_row(
        runtime, "web", container_reason="its container is unhealthy"
    ),
    "a token is refused": lambda runtime: change_row(
        runtime, Repository, token_problem="GitHub refuses the token (401)"
    ),
    "a token ends soon": lambda runtime: change_row(
        runtime, Repository, token_expires_at=now() + WARN_BEFORE - timedelta(minutes=1)
    ),
    "pushes were missed": lambda runtime: change_row(runtime, CatchUp, found="2 pushes"),
    "a search fails": lambda runtime: change_row(runtime, CatchUp, problem="GitHub is down"),
    "a search goes another way": lambda runtime: change_row(
        runtime, CatchUp, way=CatchUpWay.BRANCH_HEAD
    ),
    "a status is posted": lambda runtime: end_status(runtime, posted_at=now()),
    "a status is refused": lambda runtime: end_status(runtime, error="no token"),
    "a status is late": try_status_again,
    "a delivery is refused": refuse,
}


@pytest.mark.parametrize("write", BY_ITSELF.values(), ids=list(BY_ITSELF))
def test_a_change_without_a_request_is_reported_once(
    changes: Changes, runtime: WebRuntime, write: Write
) -> None:
    write(runtime)
    assert changes.look()
    assert not changes.look()


def test_another_check_by_the_watcher_is_no_change(changes: Changes, runtime: WebRuntime) -> None:
    note(runtime, disk_free=41 * GB - 4096)
    change_row(runtime, CatchUp, looked_at=now())
    assert not changes.look()


def test_a_flood_of_refused_deliveries_is_no_news(changes: Changes, runtime: WebRuntime) -> None:
    for number in range(2 * MOST_OF_REPOSITORY):
        refuse(runtime, address=f"192.0.2.{number}")
    assert changes.look()
    for number in range(5):
        refuse(runtime, address=f"198.51.100.{number}")
        refuse(runtime, claimed="eve/none", address=f"203.0.113.{number}")
    assert not changes.look()


def test_two_containers_that_change_places_are_news(runtime: WebRuntime) -> None:
    first, second = ContainerState.RUNNING, ContainerState.EXITED
    for name, state in (("one", first), ("two", second)):
        make_app(runtime, name=name)
        change_app_row(runtime, name, container_state=state)
    changes = Changes(runtime.database)
    changes.look()
    for name, state in (("one", second), ("two", first)):
        change_app_row(runtime, name, container_state=state)
    assert changes.look()


def test_pages_look_again_after_a_while_although_nothing_was_written(
    changes: Changes, clock: Clock, runtime: WebRuntime
) -> None:
    clock.now = LONGEST_REST_S - 1
    assert not changes.look()
    clock.now = LONGEST_REST_S
    assert changes.look()
    assert not changes.look()
    clock.now += LONGEST_REST_S / 2
    make_deployment(runtime)
    assert changes.look()
    clock.now += LONGEST_REST_S / 2
    assert not changes.look()


def test_a_look_reads_no_growing_table_whole(changes: Changes, runtime: WebRuntime) -> None:
    asked: list[tuple[str, Any]] = []

    def listen(*arguments: Any) -> None:  # noqa: ANN401
        asked.append((arguments[2], arguments[3]))

    engine = runtime.database.reader_engine
    event.listen(engine, "before_cursor_execute", listen)
    changes.look()
    event.remove(engine, "before_cursor_execute", listen)
    with engine.connect() as connection:
        for statement, values in asked:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = [row[3] for row in rows]
            growing = ("SCAN deployments", "SCAN steps", "SCAN commit_statuses")
            assert not any(line.startswith(growing) for line in plan), (statement, plan)
    assert len(asked) > 8
