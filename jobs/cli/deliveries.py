"""`keystone deliveries`: show GitHub's deliveries and their outcomes, or the refused ones."""

from typing import Annotated

import typer

from jobs.cli.console import AsJson, open_to_read, show_json, show_table
from jobs.cli.walking import Limit, newest
from jobs.reads.deliveries import DeliveryFilter, delivery_page, refused_deliveries
from jobs.reads.views import DeliveryView
from jobs.states import DeliveryOutcome

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def deliveries(  # noqa: PLR0913 — one for each option
    *,
    repository: Annotated[str | None, typer.Option(help="owner/name on GitHub.")] = None,
    outcome: Annotated[DeliveryOutcome | None, typer.Option(help="The delivery's outcome.")] = None,
    event: Annotated[str | None, typer.Option(help="Like push or ping.")] = None,
    text: Annotated[
        str | None,
        typer.Option(help="Part of ref, sender or reason; or beginning of GUID or commit."),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Show refused deliveries; use alone or with --json.")
    ] = False,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show GitHub's deliveries and their outcomes, newest first."""
    if refused:
        _show_refused(as_json=as_json)
        return
    wanted = DeliveryFilter(
        repository=repository, outcome=outcome, event=event, text=text, limit=limit
    )
    with open_to_read().database.reading() as session:
        found = newest(session, delivery_page, wanted)
    if as_json:
        show_json(found)
        return
    columns = ("Received", "Outcome", "Event", "Repository", "Ref", "Commit", "By", "Led to", "")
    rows = [_row(view) for view in found.items]
    show_table(columns, rows, empty="Nothing like that has arrived.")


def _show_refused(*, as_json: bool) -> None:
    with open_to_read().database.reading() as session:
        found = refused_deliveries(session)
    if as_json:
        show_json(found)
        return
    columns = ("Last", "First", "Count", "Repository", "From", "Refused")
    rows = [
        (
            view.last_at,
            view.first_at,
            view.count,
            view.repository or view.claimed or None,
            view.address or "several addresses",
            view.words,
        )
        for view in found.items
    ]
    show_table(columns, rows, empty="Nothing was refused.")


def _row(view: DeliveryView) -> tuple[object, ...]:
    return (
        view.received_at,
        view.outcome,
        view.event,
        view.repository,
        view.ref or None,
        view.commit_sha[:8] or None,
        view.sender or None,
        ", ".join(map(str, view.deployments)) or None,
        view.reason.partition("\n")[0],
    )
