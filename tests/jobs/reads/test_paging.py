"""A list in pages: nothing is left out, and a search looks at so many rows and no more."""

from collections.abc import Iterator
from itertools import chain

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, create_engine, select

from jobs.reads.paging import Walk, walk_back
from jobs.states import ActorKind
from jobs.storage.models import AuditEvent


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A hundred events; every seventh is red."""
    engine = create_engine("sqlite://")
    AuditEvent.__table__.create(engine)  # type: ignore[attr-defined]
    with Session(engine) as session:
        for number in range(1, 101):
            colour = "blue" if number % 7 else "red"
            session.add(
                AuditEvent(
                    id=number, tag=colour, actor_kind=ActorKind.CLI, actor_name="", target=""
                )
            )
        session.commit()
    yield engine
    engine.dispose()


def pages_of(engine: Engine, colour: str = "", *, limit: int, depth: int) -> list[list[int]]:
    """Walk to the end, as somebody does who goes on pressing "Older"."""
    found: list[list[int]] = []
    before = None
    narrow = [col(AuditEvent.tag) == colour] if colour else []
    while len(found) < 200:
        with Session(engine) as session:
            walk = Walk(limit, before, narrow=narrow, depth=depth)
            rows, before = walk_back(session, select(AuditEvent), col(AuditEvent.id), walk)
            found.append([row.id or 0 for row in rows])
        if before is None:
            return found
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("limit", [1, 7, 50, 99, 100])
def test_pages_meet_without_gap_or_overlap(engine: Engine, limit: int) -> None:
    pages = pages_of(engine, limit=limit, depth=5)
    assert list(chain(*pages)) == list(range(100, 0, -1))
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


@pytest.mark.parametrize("depth", [1, 3, 7, 10, 33, 99, 100, 101])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_search_finds_everything_whatever_its_depth(
    engine: Engine, limit: int, depth: int
) -> None:
    pages = pages_of(engine, "red", limit=limit, depth=depth)
    assert list(chain(*pages)) == list(range(98, 0, -7))


def test_a_search_stops_at_its_depth_and_says_where_to_go_on(engine: Engine) -> None:
    pages = pages_of(engine, "green", limit=5, depth=30)
    assert pages == [[], [], [], []]


def test_a_limit_is_kept_within_reason(engine: Engine) -> None:
    with Session(engine) as session:
        rows, following = walk_back(session, select(AuditEvent), col(AuditEvent.id), Walk(0))
    assert ([row.id for row in rows], following) == ([100], 100)
