"""Lists that may be longer than one page, walked for people until they have what they asked for."""

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

Limit = Annotated[int, typer.Option(min=1, max=MOST, help="How many at most.")]
Filter = TypeVar("Filter", AuditFilter, DeliveryFilter)


def newest(
    session: Session, page_of: Callable[[Session, Filter], Page[Item]], wanted: Filter
) -> Page[Item]:
    """Walk back page by page until there are as many as wanted, or no more."""
    found: list[Item] = []
    before = wanted.before
    while len(found) < wanted.limit:
        size = min(wanted.limit - len(found), LARGEST_PAGE)
        page = page_of(session, replace(wanted, limit=size, before=before))
        found += page.items
        if (before := page.next) is None:
            break
    return Page(items=found, next=before)
