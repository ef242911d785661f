"""`keystone env`: set, list and remove an app's environment variables."""

from typing import Annotated

import typer
from pydantic import SecretStr

from jobs.cli.console import (
    AsJson,
    Removed,
    actor,
    ask_secret,
    open_to_change,
    open_to_read,
    read_text,
    show_done,
    show_json,
    show_notes,
    show_table,
)
from jobs.cli.output import say
from jobs.errors import ConfigurationError, Mistake
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.variables import variable_views
from jobs.reads.views import ImportedVariablesView, Page, SetVariableView, VariableView
from jobs.records.variables import SetVariables, set_variables, unset_variable
from jobs.rules.variables import NewValue, parse_env_file
from jobs.settings import AllSettings

ON_COMMAND_LINE = (
    "the value was on the command line, so other users of this machine and the shell's history "
    "may have it; without =VALUE the command asks for it"
)

commands = typer.Typer(rich_markup_mode=None)
env = typer.Typer(no_args_is_help=True)
commands.add_typer(env, name="env", help="Set, list and remove an app's environment variables.")

AppName = Annotated[str, typer.Argument(metavar="APP", help="The app's name.")]
Secret = Annotated[
    bool | None,
    typer.Option(
        "--secret/--plain",
        help="Never show the value again, or show it. Without either, an existing variable stays "
        "what it is, and a new one is a secret if its name or a password in its value says so.",
        show_default=False,
    ),
]


@env.command("set")
def set_variable(
    app: AppName,
    variable: Annotated[
        str, typer.Argument(metavar="NAME[=VALUE]", help="Without =VALUE, the value is asked for.")
    ],
    *,
    secret: Secret = None,
    as_json: AsJson = False,
) -> None:
    """Set a variable; the value of a secret comes from standard input or a prompt."""
    name, given, value = variable.partition("=")
    if given and secret:
        told = "a secret must not be on the command line; give its value on standard input"
        raise ConfigurationError(Mistake(name, told))
    keystone = open_to_change()
    wanted = {name: SecretStr(value) if given else ask_secret(name, whole=True)}
    done, views = _set(keystone, app, wanted, secret=secret, as_json=as_json)
    if as_json:
        show_json(SetVariableView(**dict(views[0]), notes=list(done.notes)))
        return
    kind = " as a secret" if done.secrets else ""
    say(f"{name} is set{kind}; `keystone deploy {app}` gives it to the container.")
    if given and done.secrets:
        say(f"{name}: {ON_COMMAND_LINE}.", err=True)
    show_notes(done.notes)


@env.command("import")
def import_file(
    app: AppName,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .env file; - for standard input.")],
    *,
    secret: Secret = None,
    as_json: AsJson = False,
) -> None:
    """Set every variable of a `.env` file."""
    keystone = open_to_change()
    found = parse_env_file(read_text(file))
    done, views = _set(keystone, app, found, secret=secret, as_json=as_json)
    if as_json:
        show_json(ImportedVariablesView(items=views, notes=list(done.notes)))
        return
    told = f"{len(found)} variables are set; `keystone deploy {app}` gives them to it."
    names = ", ".join(sorted(done.secrets))
    say(f"{told} Secrets: {names}." if names else told)
    show_notes(done.notes)


def _set(
    keystone: Runtime[AllSettings],
    app: str,
    values: dict[str, SecretStr],
    *,
    secret: bool | None,
    as_json: bool,
) -> tuple[SetVariables, list[VariableView]]:
    """Set variables; return their views for JSON output, or an empty list without it."""
    wanted = {name: NewValue(value, secret) for name, value in values.items()}
    with keystone.database.writing() as session:
        found = find_app(session, app)
        done = set_variables(session, found, wanted, actor(), vault=keystone.vault)
        if not as_json:
            # Do not open the app's variables: some may be sealed with a lost key, and it must still
            # be possible to set them again.
            return done, []
        session.flush()
        views = variable_views(session, found, keystone.vault)
    return done, [view for view in views if view.name in values]


@env.command("unset")
def unset(
    app: AppName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The variable.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove a variable."""
    with open_to_change().database.writing() as session:
        unset_variable(session, find_app(session, app), name, actor())
    told = f"{name} is gone; `keystone deploy {app}` takes it from the container."
    show_done(told, Removed(removed=name), as_json=as_json)


@env.command("list")
def list_variables(app: AppName, *, as_json: AsJson = False) -> None:
    """List an app's variables; secret values are not shown."""
    keystone = open_to_read()
    with keystone.database.reading() as session:
        views = variable_views(session, find_app(session, app), keystone.vault)
    if as_json:
        show_json(Page[VariableView](items=views))
        return
    rows = [(view.name, "(secret)" if view.secret else view.value) for view in views]
    show_table(("Name", "Value"), rows, empty=f"{app} has no variables; `keystone env set {app}`")
