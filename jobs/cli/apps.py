"""`keystone app`: add, list, show, change and remove apps."""

import shlex
from typing import Annotated, Any

import typer

from jobs.cli.console import (
    AsJson,
    actor,
    confirmed,
    open_to_change,
    open_to_read,
    show_facts,
    show_json,
    show_notes,
    show_removed,
    show_table,
    warn_of_webhook,
)
from jobs.cli.fields import given_fields, with_app_fields
from jobs.cli.output import say
from jobs.errors import ConfigurationError
from jobs.reads.apps import app_view, app_views, find_app
from jobs.reads.repositories import repository_view
from jobs.reads.views import AppView, Page, RemovedView, RepositoryView
from jobs.records.apps import add_app, change_app, remove_app
from jobs.rules.app_fields import AppChange, AppInput
from jobs.rules.mistakes import parse_input
from jobs.rules.triggers import source_words

commands = typer.Typer(rich_markup_mode=None)
app = typer.Typer(no_args_is_help=True)
commands.add_typer(app, name="app", help="Add, list, show, change and remove apps.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The app's name.")]


@app.command("add")
@with_app_fields(tells_defaults=True)
def add(
    name: Name,
    *,
    repository: Annotated[str, typer.Option(help="owner/name on GitHub.")],
    as_json: AsJson = False,
    **fields: Any,  # noqa: ANN401 — one for each field of an app
) -> None:
    """Add an app, and show the webhook to set up at GitHub; its secret is shown only once."""
    keystone = open_to_change()
    given = {"name": name, "repository": repository, **given_fields(fields)}
    wanted = parse_input(AppInput, given, is_text=True)
    with keystone.database.writing() as session:
        created = add_app(
            session, wanted, actor(), settings=keystone.settings, vault=keystone.vault
        )
        view = app_view(session, wanted.name, keystone.settings)
    if created.webhook_secret is not None:
        secret = created.webhook_secret.get_secret_value()
        told = view.webhook.model_copy(update={"secret": secret})
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
    """Print the webhook to set up at GitHub, including its secret."""
    say(f"Add a webhook at https://github.com/{view.repository}/settings/hooks/new:")
    show_facts(
        [
            ("  Payload URL", view.webhook.url),
            ("  Content type", "application/json"),
            ("  Secret", view.webhook.secret),
            ("  Events", "just the push event"),
        ]
    )
    warn_of_webhook(view.webhook.problem)


@app.command("list")
def list_apps(*, as_json: AsJson = False) -> None:
    """List the apps."""
    keystone = open_to_read()
    with keystone.database.reading() as session:
        views = app_views(session, keystone.settings)
    if as_json:
        show_json(Page[AppView](items=views))
    else:
        show_apps(views)


def show_apps(views: list[AppView]) -> None:
    """Print the state of the apps, one per line."""
    rows = [
        (
            view.name,
            view.state,
            f"v{view.live_release}" if view.live_release else None,
            (view.live_commit_sha or "")[:8] or None,
            view.url,
            f"{view.repository} ({source_words(view.branch, view.deploy_on, view.tag_pattern)})",
            _news(view),
        )
        for view in views
    ]
    columns = ("App", "State", "Release", "Commit", "Address", "Repository", "")
    show_table(columns, rows, empty="There are no apps yet; `keystone app add` makes one.")


def _news(view: AppView) -> str:
    """Say why an app is in its state, and which release is warm."""
    warm = ""
    if view.warm_release is not None and view.warm_until is not None:
        warm = f"v{view.warm_release} is warm until {view.warm_until:%H:%M} UTC"
    return "; ".join(filter(None, (view.state_reason, warm)))


@app.command("show")
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show an app: its configuration and its live release."""
    keystone = open_to_read()
    with keystone.database.reading() as session:
        view = app_view(session, name, keystone.settings)
    if as_json:
        show_json(view)
    else:
        show_app(view)


def show_app(view: AppView) -> None:
    """Print everything about an app, one fact per line."""
    facts = view.model_dump(exclude={"id", "repository_id", "webhook"})
    facts["webhook"] = view.webhook.url
    facts["command"] = shlex.join(view.command or ())
    show_facts((name.replace("_", " "), _fact(value)) for name, value in facts.items())
    warn_of_webhook(view.webhook.problem)


def _fact(value: object) -> object:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(value)
        case dict():
            return ", ".join(f"{name}={text}" for name, text in value.items())
        case _:
            return value


@app.command("set")
@with_app_fields()
def change(
    name: Name,
    *,
    as_json: AsJson = False,
    **fields: Any,  # noqa: ANN401 — one for each field of an app
) -> None:
    """Change an app; an empty value ("") removes a setting."""
    keystone = open_to_change()
    given = given_fields(fields)
    if not given:
        raise ConfigurationError("nothing was given to change; `keystone app set --help`")
    wanted = parse_input(AppChange, given, is_text=True)
    with keystone.database.writing() as session:
        changed = change_app(
            session,
            find_app(session, name),
            wanted,
            actor(),
            settings=keystone.settings,
            vault=keystone.vault,
        )
        session.flush()
        view = app_view(session, name, keystone.settings)
    view = view.model_copy(update={"notes": changed.notes})
    if as_json:
        show_json(view)
        return
    effect = f"; `keystone deploy {name}` puts it into effect" if view.needs_redeploy else ""
    say(f"{name} is changed{effect}.")
    show_notes(view.notes)


@app.command("remove")
def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove an app, with its history, container and images.

    If no other app uses its repository, that is removed too, with its token, webhook secret and the
    copy of its source.
    """
    if as_json and not yes:
        raise ConfigurationError("--json never asks: add --yes")
    keystone = open_to_change()
    with keystone.database.reading() as session:
        repository = repository_view(session, find_app(session, name).repository_id)
    confirmed(f"Remove {name}, its history, container and images?{_last(repository)}", yes=yes)
    with keystone.database.writing() as session:
        removed = remove_app(session, find_app(session, name), actor())
    view = RemovedView(
        removed=name,
        repository_removed=removed.repository,
        notes=removed.notes(keystone.settings),
    )
    show_removed(view, as_json=as_json)


def _last(repository: RepositoryView) -> str:
    """Say that the repository is removed with its last app; "" if it has other apps."""
    if len(repository.apps) > 1:
        return ""
    return (
        f" {repository.full_name} has no other app: it goes too, with its token, its webhook "
        "secret and the copy of its source."
    )
