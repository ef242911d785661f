"""`keystone apply`: the apps as a TOML file says they should be."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from jobs.apps_file import Surroundings, Wanted, read_apps
from jobs.cli.apps import show_webhook
from jobs.cli.console import AsJson, actor, confirmed, open_keystone, show_facts
from jobs.cli.output import say, say_json
from jobs.errors import ConfigurationError, ConflictError
from jobs.queries import app_view, webhook_url
from jobs.records.apps_file import Action, Difference, Keeper, apply_apps, differences
from jobs.runtime import Runtime
from jobs.settings import AllSettings
from jobs.views import WebhookView

commands = typer.Typer(rich_markup_mode=None)

PIPE = "-"
LARGEST_FILE = 1024 * 1024
SIGNS = {Action.ADD: "+", Action.CHANGE: "~"}

Keystone = Runtime[AllSettings]


@commands.command()
def apply(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Apps as TOML; - for standard input.")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the apps what a file says: show the difference, ask, change all of it or nothing.

    Apps, fields and variables that the file does not name are left alone.
    """
    if as_json and not (yes or dry_run):
        raise ConfigurationError("--json asks nobody: say --yes, or --dry-run")
    folder = Path() if file == PIPE else Path(file).parent
    wanted = read_apps(_read(file), Surroundings(os.environ, folder))
    keystone = open_keystone()
    found = _tried_out(keystone, wanted)
    if not as_json:
        _show(found, file)
    secrets: Mapping[str, SecretStr] = {}
    if found and not dry_run:
        confirmed("Apply this?", yes=yes)
        secrets = _applied(keystone, wanted, found)
    if as_json:
        _show_json(keystone, found, secrets, is_applied=not dry_run)
    elif found and not dry_run:
        _show_done(keystone, found, secrets)


def _read(file: str) -> str:
    try:
        if file == PIPE:
            return sys.stdin.read(LARGEST_FILE)
        with Path(file).open(encoding="utf-8") as opened:
            return opened.read(LARGEST_FILE)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file} cannot be read ({type(exc).__name__})") from exc


def _keeper(keystone: Keystone) -> Keeper:
    return Keeper(keystone.settings, keystone.vault, actor())


def _tried_out(keystone: Keystone, wanted: Sequence[Wanted]) -> list[Difference]:
    """Say what would change. Whatever would be refused is refused here, before anybody is asked."""
    keeper = _keeper(keystone)
    with keystone.database.writing() as session:
        found = differences(session, wanted, keeper)
        apply_apps(session, wanted, keeper)
        session.rollback()
    return found


def _applied(
    keystone: Keystone, wanted: Sequence[Wanted], shown: Sequence[Difference]
) -> Mapping[str, SecretStr]:
    keeper = _keeper(keystone)
    with keystone.database.writing() as session:
        if differences(session, wanted, keeper) != shown:
            raise ConflictError("an app was changed meanwhile: nothing is applied; try again")
        return apply_apps(session, wanted, keeper)


# --- Telling ---------------------------------------------------------------------------------


def _show(found: Sequence[Difference], file: str) -> None:
    if not found:
        say(f"Nothing to do: everything is as {file} says.")
    for difference in found:
        say(f"{SIGNS[difference.action]} {difference.app}")
        fields = ((name.replace("_", " "), each) for name, each in difference.fields.items())
        variables = ((f"env {name}", each) for name, each in difference.variables.items())
        show_facts((f"    {name}", _arrow(*each)) for name, each in (*fields, *variables))


def _arrow(before: object, after: object) -> str:
    return _word(after) if before is None else f"{_word(before)} → {_word(after)}"


def _word(value: object) -> str:
    """Write a value on one line, so that nothing and an empty text can be told apart."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, str) and value else json.dumps(value)


def _show_json(
    keystone: Keystone,
    found: Sequence[Difference],
    secrets: Mapping[str, SecretStr],
    *,
    is_applied: bool,
) -> None:
    told = {
        "items": [
            {
                "app": each.app,
                "action": each.action,
                "fields": _pairs(each.fields),
                "variables": _pairs(each.variables),
            }
            for each in found
        ],
        "applied": is_applied,
        "webhooks": [
            {
                "app": each.app,
                "url": webhook_url(keystone.settings),
                "secret": secrets[each.app].get_secret_value(),
            }
            for each in found
            if each.app in secrets
        ],
    }
    say_json(json.dumps(told, indent=2))


def _pairs(changes: Mapping[str, tuple[object, object]]) -> dict[str, dict[str, object]]:
    return {name: {"before": old, "after": new} for name, (old, new) in changes.items()}


def _show_done(
    keystone: Keystone, found: Sequence[Difference], secrets: Mapping[str, SecretStr]
) -> None:
    with keystone.database.reading() as session:
        views = [app_view(session, each.app, keystone.settings) for each in found]
    for view in views:
        say(f"{view.name} is as the file says.")
        if view.needs_redeploy:
            say(f"  `keystone deploy {view.name}` puts it into effect.")
        if view.name in secrets:
            secret = secrets[view.name].get_secret_value()
            told = WebhookView(url=view.webhook.url, secret=secret)
            show_webhook(view.model_copy(update={"webhook": told}))
    if secrets:
        say("What is secret here is not shown again.")
