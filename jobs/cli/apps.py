"""`keystone app`: what is deployed, and how."""

import shlex
from typing import Annotated, Any

import typer

from jobs.app_input import AppChange, AppInput, parse_input
from jobs.cli.console import (
    AsJson,
    Removed,
    actor,
    confirmed,
    open_keystone,
    show_done,
    show_facts,
    show_json,
    show_table,
)
from jobs.cli.fields import given_fields, with_app_fields
from jobs.cli.output import say
from jobs.errors import ConfigurationError
from jobs.queries import app_view, app_views, find_app
from jobs.records.apps import add_app, change_app, remove_app
from jobs.views import AppView, Page, WebhookView

commands = typer.Typer(rich_markup_mode=None)
app = typer.Typer(no_args_is_help=True)
commands.add_typer(app, name="app", help="Add, list, show, change and remove apps.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The app's name.")]


@app.command("add")
@with_app_fields
def add(
    name: Name,
    *,
    repository: Annotated[str, typer.Option(help="owner/name on GitHub.")],
    as_json: AsJson = False,
    **fields: Any,  # noqa: ANN401 — one for each field of an app
) -> None:
    """Add an app, and show what to type in at GitHub: that secret is shown this once."""
    given = {"name": name, "repository": repository, **given_fields(fields)}
    wanted = parse_input(AppInput, given)
    keystone = open_keystone()
    with keystone.database.writing() as session:
        created = add_app(
            session, wanted, actor(), settings=keystone.settings, vault=keystone.vault
        )
        view = app_view(session, wanted.name, keystone.settings)
    if created.webhook_secret is not None:
        told = WebhookView(url=view.webhook.url, secret=created.webhook_secret.get_secret_value())
        view = view.model_copy(update={"webhook": told})
    if as_json:
        show_json(view)
    else:
        _show_added(view)


def _show_added(view: AppView) -> None:
    say(f"{view.name} is added; deploy it with `keystone deploy {view.name}`, or by a push.")
    if view.webhook.secret is None:
        say("Its repository has a webhook already.")
        return
    show_webhook(view)
    say("The secret is not shown again.")


def show_webhook(view: AppView) -> None:
    """Print what to type in at GitHub, the secret included."""
    say(f"Add a webhook at https://github.com/{view.repository}/settings/hooks/new:")
    show_facts(
        [
            ("  Payload URL", view.webhook.url),
            ("  Content type", "application/json"),
            ("  Secret", view.webhook.secret),
            ("  Events", "just the push event"),
        ]
    )


@app.command("list")
def list_apps(*, as_json: AsJson = False) -> None:
    """List the apps."""
    keystone = open_keystone()
    with keystone.database.reading() as session:
        views = app_views(session, keystone.settings)
    if as_json:
        show_json(Page[AppView](items=views))
    else:
        show_apps(views)


def show_apps(views: list[AppView]) -> None:
    """Print how the apps stand, one a line."""
    rows = [
        (
            view.name,
            view.state,
            f"v{view.live_release}" if view.live_release else None,
            (view.live_commit_sha or "")[:8] or None,
            view.url,
            f"{view.repository} ({view.branch})",
            view.state_reason,
        )
        for view in views
    ]
    columns = ("App", "State", "Release", "Commit", "Address", "Repository", "")
    show_table(columns, rows, empty="There are no apps yet; `keystone app add` makes one.")


@app.command("show")
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show an app: how it is configured, and what of it is live."""
    keystone = open_keystone()
    with keystone.database.reading() as session:
        view = app_view(session, name, keystone.settings)
    if as_json:
        show_json(view)
    else:
        show_app(view)


def show_app(view: AppView) -> None:
    """Print all there is to say of an app, one fact a line."""
    facts = view.model_dump(exclude={"id", "repository_id", "webhook"})
    facts["webhook"] = view.webhook.url
    facts["command"] = shlex.join(view.command or ())
    show_facts((name.replace("_", " "), _fact(value)) for name, value in facts.items())


def _fact(value: object) -> object:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case dict():
            return ", ".join(f"{name}={text}" for name, text in value.items())
        case _:
            return value


@app.command("set")
@with_app_fields
def change(
    name: Name,
    *,
    as_json: AsJson = False,
    **fields: Any,  # noqa: ANN401 — one for each field of an app
) -> None:
    """Change an app; an empty value ("") takes one away."""
    given = given_fields(fields)
    if not given:
        raise ConfigurationError("nothing was given to change; `keystone app set --help`")
    wanted = parse_input(AppChange, given)
    keystone = open_keystone()
    with keystone.database.writing() as session:
        change_app(
            session,
            find_app(session, name),
            wanted,
            actor(),
            settings=keystone.settings,
            vault=keystone.vault,
        )
        session.flush()
        view = app_view(session, name, keystone.settings)
    if as_json:
        show_json(view)
    elif view.needs_redeploy:
        say(f"{name} is changed; `keystone deploy {name}` puts it into effect.")
    else:
        say(f"{name} is changed.")


@app.command("remove")
def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove an app: its history, its container and its images."""
    if as_json and not yes:
        raise ConfigurationError("--json asks nobody: say --yes")
    keystone = open_keystone()
    with keystone.database.reading() as session:
        find_app(session, name)
    confirmed(f"Remove {name}, its history, container and images?", yes=yes)
    with keystone.database.writing() as session:
        remove_app(session, find_app(session, name), actor())
    show_done(f"{name} is removed.", Removed(removed=name), as_json=as_json)
