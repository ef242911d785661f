"""`keystone audit`: show the audit trail."""

from datetime import datetime
from typing import Annotated

import typer

from jobs.cli.console import AsJson, open_to_read, show_json, show_table
from jobs.cli.walking import Limit, newest
from jobs.reads.audit import AuditFilter, audit_page

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Who, like user:ada.")] = None,
    tag: Annotated[str | None, typer.Option(help="What, like login.failed or deployment.")] = None,
    target: Annotated[str | None, typer.Option(help="To which thing, like app:web.")] = None,
    since: Annotated[datetime | None, typer.Option(help="In this machine's time.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what to which thing, newest first."""
    moment = since.astimezone() if since else None
    wanted = AuditFilter(actor=actor, tag=tag, target=target, since=moment, limit=limit)
    with open_to_read().database.reading() as session:
        found = newest(session, audit_page, wanted)
    if as_json:
        show_json(found)
        return
    rows = [(v.at, v.actor, v.tag, v.target, v.address) for v in found.items]
    show_table(("When", "Who", "What", "To", "From"), rows, empty="Nothing like that is on record.")
