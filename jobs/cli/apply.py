"""`keystone apply`: change the apps to match a TOML file."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from jobs.adapters.secret_references import Surroundings, find_secret
from jobs.cli.apps import show_webhook
from jobs.cli.console import (
    PIPE,
    AsJson,
    actor,
    confirmed,
    open_to_change,
    open_to_read,
    read_text,
    show_facts,
    show_notes,
)
from jobs.cli.output import say, say_json
from jobs.errors import ConfigurationError, ConflictError
from jobs.processes.configuration import files_of_settings
from jobs.processes.runtime import Runtime
from jobs.reads.apps import app_view, webhook_problem, webhook_url
from jobs.records.apps_file import (
    Action,
    Applied,
    Difference,
    Keeper,
    apply_apps,
    differences,
)
from jobs.records.dry_run import trial
from jobs.rules.apps_file import Wanted, read_apps
from jobs.settings import AllSettings
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.storage.vault import present_keys

commands = typer.Typer(rich_markup_mode=None)

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
    files_from: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Allow { file = … } in this folder too; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the apps to match a file: show the difference, ask, apply everything or nothing.

    Apps, fields and variables that the file does not name stay unchanged.
    """
    if as_json and not (yes or dry_run):
        raise ConfigurationError("--json never asks: add --yes or --dry-run")
    keystone = open_to_read() if dry_run else open_to_change()
    around = _surroundings(keystone.settings, file, files_from or [])
    wanted = read_apps(read_text(file), partial(find_secret, around))
    found = _tried_out(keystone, wanted)
    if not as_json:
        _show(found, file)
    applied = Applied()
    if found and not dry_run:
        confirmed("Apply this?", yes=yes)
        applied = _applied(keystone, wanted, found)
    if as_json:
        _show_json(keystone, found, applied, is_applied=not dry_run)
    elif found and not dry_run:
        _show_done(keystone, found, applied.secrets)
        show_notes(applied.notes)


def _surroundings(settings: AllSettings, file: str, others: Sequence[Path]) -> Surroundings:
    return Surroundings(
        os.environ,
        folder=Path() if file == PIPE else Path(file).parent,
        others=others,
        own=list(_own_paths(settings)),
        keys=present_keys(settings.secret_key, settings.data_dir),
    )


def _own_paths(settings: AllSettings) -> Iterator[Path]:
    """Give Keystone's own folders and files."""
    yield settings.data_dir
    if is_sqlite(settings.effective_database_url):
        yield sqlite_path(settings.effective_database_url)
    yield from files_of_settings(os.environ)


def _keeper(keystone: Keystone) -> Keeper:
    return Keeper(keystone.settings, keystone.vault, actor())


def _tried_out(keystone: Keystone, wanted: Sequence[Wanted]) -> list[Difference]:
    """List the changes by applying them to a copy, so that errors appear before the question."""
    keeper = _keeper(keystone)
    with keystone.database.reading() as session, trial(session) as copy:
        found = differences(copy, wanted, keeper)
        apply_apps(copy, wanted, keeper)
    return found


def _applied(keystone: Keystone, wanted: Sequence[Wanted], shown: Sequence[Difference]) -> Applied:
    keeper = _keeper(keystone)
    with keystone.database.writing() as session:
        if differences(session, wanted, keeper) != shown:
            raise ConflictError("an app was changed meanwhile: nothing is applied; try again")
        return apply_apps(session, wanted, keeper)


# --- Output ----------------------------------------------------------------------------------


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
    """Write a value on one line, so that None and an empty text look different."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, str) and value else json.dumps(value)


def _show_json(
    keystone: Keystone,
    found: Sequence[Difference],
    applied: Applied,
    *,
    is_applied: bool,
) -> None:
    secrets = applied.secrets
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
        "notes": applied.notes,
        "webhooks": [
            {
                "app": each.app,
                "url": webhook_url(keystone.settings),
                "secret": secrets[each.app].get_secret_value(),
                "problem": webhook_problem(keystone.settings),
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
            told = view.webhook.model_copy(update={"secret": secret})
            show_webhook(view.model_copy(update={"webhook": told}))
    if secrets:
        say("The secrets are not shown again.")
