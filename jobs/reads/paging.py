"""Reads lists backwards, newest first, in pages of bounded cost.

A list is read along an index. Conditions that no index covers are checked on a bounded number of
rows per page. So a page of a search may be short or empty although older rows match: its cursor
says where to continue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import Mapped
from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

LARGEST_PAGE = 100
SEARCH_DEPTH = 5000  # rows that one page checks

Condition = ColumnElement[bool]


class Numbered(Protocol):
    """A row with an id."""

    id: int | None


Row = TypeVar("Row", bound=Numbered)


@dataclass(frozen=True)
class Walk:
    """The wanted part of a list."""

    limit: int
    before: int | None = None  # the id of the last row already seen
    along: Sequence[Condition] = ()  # conditions that one index covers together
    narrow: Sequence[Condition] = ()  # conditions checked row by row
    depth: int = SEARCH_DEPTH


def walk_back(
    session: Session, rows: SelectOfScalar[Row], key: Mapped[Any], walk: Walk
) -> tuple[list[Row], int | None]:
    """Give one page of a list, and the cursor of the next page; None at the end of the list.

    Args:
        key: `col` of the id that the list is ordered by.
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
    """Give the id of the last row to check; None if the list ends before it."""
    statement = select(key).where(*along).order_by(key.desc()).offset(depth - 1).limit(2)
    found = session.exec(statement).all()
    return found[0] if len(found) > 1 else None


def unindexed(column: Any) -> ColumnElement[Any]:  # noqa: ANN401
    """Wrap a column in an expression, so that the database does not use the column's index."""
    return func.coalesce(column, column)
