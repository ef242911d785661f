"""Lists walked backwards, newest first, in pages whose cost has a bound.

A list is walked along an index, and what no index knows is looked for in so many rows and no more.
So a page that was searched may be short, or empty, although there is more further back: its cursor
says where to go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import Mapped
from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

LARGEST_PAGE = 100
SEARCH_DEPTH = 5000  # rows that one page looks through

Condition = ColumnElement[bool]


class Numbered(Protocol):
    """A row with an id."""

    id: int | None


Row = TypeVar("Row", bound=Numbered)


@dataclass(frozen=True)
class Walk:
    """Which part of a list is wanted."""

    limit: int
    before: int | None = None  # the id of the last one already seen
    along: Sequence[Condition] = ()  # what an index knows, all of them together
    narrow: Sequence[Condition] = ()  # what is looked for, row by row
    depth: int = SEARCH_DEPTH


def walk_back(
    session: Session, rows: SelectOfScalar[Row], key: Mapped[Any], walk: Walk
) -> tuple[list[Row], int | None]:
    """Give one page of a list, and the cursor of the next one; None at the end.

    Args:
        key: `col` of the id by which the list is ordered.
    """
    limit = min(max(walk.limit, 1), LARGEST_PAGE)
    along = [*walk.along, *([key < walk.before] if walk.before is not None else [])]
    floor = _floor(session, key, along, walk.depth) if walk.narrow else None
    bounds = [] if floor is None else [key >= floor]
    statement = rows.where(*along, *walk.narrow, *bounds).order_by(key.desc()).limit(limit + 1)
    found = list(session.exec(statement).all())
    if len(found) > limit:
        return found[:limit], found[limit - 1].id
    return found, floor


def _floor(
    session: Session, key: Mapped[Any], along: Sequence[Condition], depth: int
) -> int | None:
    """Give the id of the last row to look at, or None when the list ends before."""
    statement = select(key).where(*along).order_by(key.desc()).offset(depth - 1).limit(2)
    found = session.exec(statement).all()
    return found[0] if len(found) > 1 else None


def unindexed(column: Any) -> ColumnElement[Any]:  # noqa: ANN401
    """Give a column as something that is no column: its own index must not be walked instead."""
    return func.coalesce(column, column)
