"""`keystone doctor`, `config` and `migrate`: check the machine, the settings, the schema."""

import json
import os
from contextlib import closing
from typing import Annotated

import typer

from jobs.cli.console import AsJson, show_table
from jobs.cli.output import say, say_json
from jobs.doctor.checks import examine
from jobs.errors import ConflictError
from jobs.processes.configuration import describe_settings, read_settings
from jobs.processes.hand_over import UNDOING
from jobs.processes.runtime import open_runtime
from jobs.processes.supervise import is_up
from jobs.rules.findings import Verdict
from jobs.settings import AllSettings
from jobs.storage.database import Database
from jobs.storage.migrations.apply import HEAD, restore_schema

commands = typer.Typer(rich_markup_mode=None)

EXIT_NO_ANSWER = 5


@commands.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check everything that Keystone needs, and say how to fix it.

    Exits 0 if nothing prevents Keystone from running, else 5.
    """
    findings = examine(read_settings(AllSettings, os.environ))
    if as_json:
        say_json(json.dumps({"items": [vars(finding) for finding in findings]}, indent=2))
    else:
        rows = [(finding.verdict, finding.name, finding.found) for finding in findings]
        show_table(("", "What", "Found"), rows, empty="")
        for finding in findings:
            if finding.fix:
                say(f"{finding.name}: {finding.fix}")
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(EXIT_NO_ANSWER)


@commands.command()
def config(*, as_json: AsJson = False) -> None:
    """Show the effective settings, without secrets."""
    values = describe_settings(read_settings(AllSettings, os.environ))
    if as_json:
        say_json(json.dumps(values, indent=2))
        return
    told = {name: field.description for name, field in AllSettings.model_fields.items()}
    rows = [
        (name, value, told[name.removeprefix("KEYSTONE_").lower()])
        for name, value in values.items()
    ]
    show_table(("Setting", "Value", "What it is"), rows, empty="")


@commands.command()
def migrate(
    *,
    to: Annotated[
        str, typer.Option("--to", hidden=True, help="Go back to an earlier schema.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Migrate the database to the schema of this version.

    Every start does that by itself; use this command to do it beforehand.
    """
    if to:
        settings = read_settings(AllSettings, os.environ)
        if is_up(settings.data_dir) and UNDOING not in os.environ:
            raise ConflictError("Keystone runs: stop it before you bring its schema back")
        with closing(Database(settings.effective_database_url)) as database:
            restore_schema(database, to, lock_file=settings.data_dir / "migrate.lock")
        say(f"The database has schema {to} again.")
        return
    open_runtime(read_settings(AllSettings, os.environ)).database.close()
    if as_json:
        say_json(json.dumps({"schema": HEAD}))
    else:
        say(f"The database has schema {HEAD}.")
