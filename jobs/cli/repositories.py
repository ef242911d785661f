"""`keystone repository`: list repositories, set their GitHub ids, and remove unused ones."""

from typing import Annotated

import typer

from jobs.cli.console import (
    AsJson,
    actor,
    confirmed,
    open_to_change,
    open_to_read,
    show_done,
    show_json,
    show_removed,
    show_table,
)
from jobs.errors import ConfigurationError
from jobs.reads.repositories import find_repository_id, repository_view, repository_views
from jobs.reads.views import Page, RemovedView, RepositoryView
from jobs.records.repositories import find_repository, remove_repository, removed_notes
from jobs.records.repository_identity import set_github_id
from jobs.rules.push_payload import LARGEST_ID

commands = typer.Typer(rich_markup_mode=None)
repository = typer.Typer(no_args_is_help=True)
commands.add_typer(
    repository,
    name="repository",
    help="List repositories, set their GitHub ids, and remove unused ones.",
)

Name = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository, as listed.")]


@repository.command("list")
def list_repositories(*, as_json: AsJson = False) -> None:
    """List the repositories, with their apps, git URLs, tokens and GitHub ids."""
    with open_to_read().database.reading() as session:
        views = repository_views(session)
    if as_json:
        show_json(Page[RepositoryView](items=views))
        return
    columns = ("Repository", "Apps", "Git URL", "Token", "GitHub id", "Webhook seen", "")
    rows = [
        (
            view.full_name,
            ", ".join(view.apps) or "none",
            view.git_url,
            "set" if view.token_set else "none",
            _identity(view),
            view.webhook_seen_at or "never",
            view.identity_problem or view.token_problem or "",
        )
        for view in views
    ]
    show_table(columns, rows, empty="There are no repositories yet; an app brings its own.")


def _identity(view: RepositoryView) -> str:
    if view.github_id is None:
        return "not known"
    return f"{view.github_id} (by {'GitHub' if view.identity_from == 'github' else 'an operator'})"


@repository.command("set")
def change(
    name: Name,
    *,
    github_id: Annotated[
        int | None,
        typer.Option(
            "--github-id",
            min=1,
            max=LARGEST_ID,
            metavar="N",
            help="The repository's id at GitHub; `gh api repos/OWNER/NAME --jq .id` shows it.",
        ),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget-github-id", help="Forget the known id, and ask GitHub for it again."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set or forget a repository's GitHub id; set it if Keystone cannot ask GitHub itself."""
    if forget == (github_id is not None):
        raise ConfigurationError("give either --github-id or --forget-github-id")
    with open_to_change().database.writing() as session:
        row = find_repository(session, find_repository_id(session, name))
        set_github_id(session, row, github_id, actor())
        session.flush()
        view = repository_view(session, row.id or 0)
    told = f"GitHub's id of {view.full_name} is {github_id or 'forgotten'}."
    show_done(told, view, as_json=as_json)


@repository.command("remove")
def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a repository without apps, with its token, webhook secret and copy of its source.

    A repository with apps is removed together with its last app.
    """
    if as_json and not yes:
        raise ConfigurationError("--json never asks: add --yes")
    keystone = open_to_change()
    with keystone.database.reading() as session:
        find_repository_id(session, name)
    confirmed(f"Remove {name}, its token, webhook secret and the copy of its source?", yes=yes)
    with keystone.database.writing() as session:
        row = find_repository(session, find_repository_id(session, name))
        remove_repository(session, row, actor())
    notes = removed_notes(row.full_name, keystone.settings)
    view = RemovedView(removed=row.full_name, repository_removed=row.full_name, notes=notes)
    show_removed(view, as_json=as_json)
