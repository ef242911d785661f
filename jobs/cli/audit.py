"""`keystone audit`: who did what to which thing."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer
from sqlmodel import Session

from jobs.audit_trail import AuditFilter, audit_page
from jobs.cli.console import AsJson, open_keystone, show_json, show_table
from jobs.paging import LARGEST_PAGE
from jobs.views import AuditEventView, Page

commands = typer.Typer(rich_markup_mode=None)

MOST_EVENTS = 10_000


@commands.command()
def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Who, like user:ada.")] = None,
    tag: Annotated[str | None, typer.Option(help="What, like login.failed or deployment.")] = None,
    target: Annotated[str | None, typer.Option(help="To which thing, like app:web.")] = None,
    since: Annotated[datetime | None, typer.Option(help="In this machine's time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_EVENTS, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what to which thing, newest first."""
    moment = since.astimezone() if since else None
    wanted = AuditFilter(actor=actor, tag=tag, target=target, since=moment)
    with open_keystone().database.reading() as session:
        events = _newest(session, wanted, limit)
    if as_json:
        show_json(Page[AuditEventView](items=events))
        return
    rows = [(v.at, v.actor, v.tag, v.target, v.address) for v in events]
    show_table(("When", "Who", "What", "To", "From"), rows, empty="Nothing like that is on record.")


def _newest(session: Session, wanted: AuditFilter, limit: int) -> list[AuditEventView]:
    """Walk back page by page until there are enough, or no more."""
    found: list[AuditEventView] = []
    before = None
    while len(found) < limit:
        size = min(limit - len(found), LARGEST_PAGE)
        page = audit_page(session, replace(wanted, limit=size, before=before))
        found += page.items
        if (before := page.next) is None:
            break
    return found
