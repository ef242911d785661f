"""Reads lists over several pages, until there are as many rows as the user asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, TypeVar

import typer
from sqlmodel import Session

from jobs.reads.audit import AuditFilter
from jobs.reads.deliveries import DeliveryFilter
from jobs.reads.paging import LARGEST_PAGE
from jobs.reads.views import Item, Page

MOST = 10_000

Limit = Annotated[int, typer.Option(min=1, max=MOST, help="The most rows to show.")]
Filter = TypeVar("Filter", AuditFilter, DeliveryFilter)


def newest(
    session: Session, page_of: Callable[[Session, Filter], Page[Item]], wanted: Filter
) -> Page[Item]:
    """Read page by page, newest first, until the limit or the end of the list is reached."""
    found: list[Item] = []
    before = wanted.before
    while len(found) < wanted.limit:
        size = min(wanted.limit - len(found), LARGEST_PAGE)
        page = page_of(session, replace(wanted, limit=size, before=before))
        found += page.items
        if (before := page.next) is None:
            break
    return Page(items=found, next=before)
