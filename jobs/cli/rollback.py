"""`keystone rollback` and `keystone releases`: list earlier releases, and go back to one."""

import re
from typing import Annotated

import typer

from jobs.cli.console import AsJson, actor, open_to_change, open_to_read, show_json, show_table
from jobs.cli.following import set_going
from jobs.errors import ConfigurationError, Mistake
from jobs.reads.apps import find_app
from jobs.reads.deployments import deployment_view
from jobs.reads.releases import release_views
from jobs.reads.views import Page, ReleaseView
from jobs.records.rollbacks import roll_back

commands = typer.Typer(rich_markup_mode=None)

AppName = Annotated[str, typer.Argument(metavar="APP", help="The app's name.")]


@commands.command()
def rollback(
    app: AppName,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="vN", help="The release; default: the one before live.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the log; exit 0 if live.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start an earlier release again, as it was, and pause auto-deploy."""
    keystone = open_to_change()
    with keystone.database.writing() as session:
        made = roll_back(session, find_app(session, app), release_number(to), actor())
        view = deployment_view(session, made.id or 0)
    told = (
        f"Deployment #{view.number} takes {app} back to v{view.release}.\n"
        f"Auto-deploy is paused; `keystone app set {app} --auto-deploy` resumes it."
    )
    set_going(keystone, view, told, wait=wait, as_json=as_json)


def release_number(given: str | None) -> int | None:
    """Parse a release number like `v12` or `12`.

    Raises:
        ConfigurationError: the text is not a release number.
    """
    if given is None:
        return None
    found = re.fullmatch(r"v?(\d{1,9})", given)
    if found is None:
        raise ConfigurationError(Mistake("--to", f"{given[:40]!r} is not a release, like v12"))
    return int(found[1])


@commands.command()
def releases(app: AppName, *, as_json: AsJson = False) -> None:
    """List the releases that were live, newest first."""
    with open_to_read().database.reading() as session:
        views = release_views(session, find_app(session, app))
    if as_json:
        show_json(Page[ReleaseView](items=views))
        return
    rows = [
        (
            f"v{view.number}",
            "live" if view.is_live else "kept" if view.is_restorable else "",
            view.commit_sha[:8],
            view.commit_message.partition("\n")[0][:60],
            view.created_at,
        )
        for view in views
    ]
    columns = ("Release", "", "Commit", "Message", "Made")
    show_table(columns, rows, empty=f"{app} was never live; `keystone deploy {app}` does it.")
