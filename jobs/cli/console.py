"""Functions shared by the commands: open Keystone, print for people or programs, read input."""

import getpass
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, SecretStr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.cli.output import say, say_json
from jobs.errors import ConfigurationError, Mistake
from jobs.processes import runtime
from jobs.processes.configuration import read_settings
from jobs.processes.runtime import Runtime
from jobs.reads.views import RemovedView
from jobs.rules.actors import Actor
from jobs.rules.text import is_printable, is_utf8, shown_name
from jobs.settings import AllSettings
from jobs.states import ActorKind
from jobs.system.small_files import as_text, read_small

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

PIPE = "-"
NOT_UTF8 = "what was given is not text in UTF-8"
LARGEST_TEXT = 1024 * 1024  # bytes of a file named on the command line, or of standard input
FACT_WIDTH = 17
WIDEST_ROW = 4000  # characters; several times the widest possible row of a table
COLOURS = {
    "running": "green",
    "success": "green",
    "ok": "green",
    "deploying": "yellow",
    "warning": "yellow",
    "queued": "yellow",
    "failing": "red",
    "failure": "red",
    "failed": "red",
    "error": "red",
    "stopped": "red",
}


class Removed(BaseModel):
    """The name of a removed object."""

    removed: str


def open_to_read() -> Runtime[AllSettings]:
    """Open the Keystone of the settings, for a command that only reads."""
    return runtime.open_to_read(read_settings(AllSettings, os.environ))


def open_to_change() -> Runtime[AllSettings]:
    """Open the Keystone of the settings, for a command that changes something."""
    return runtime.open_to_change(read_settings(AllSettings, os.environ))


def actor() -> Actor:
    """Give the actor who runs the command."""
    try:
        return Actor(ActorKind.CLI, getpass.getuser())
    except (KeyError, OSError):
        # In a container, the user id may have no user name.
        return Actor(ActorKind.CLI, str(os.getuid()))


def show_json(view: BaseModel) -> None:
    """Print a view as JSON, as the API would send it."""
    say_json(view.model_dump_json(indent=2))


def show_done(told: str, view: BaseModel, *, as_json: bool) -> None:
    """Report that something is done: a sentence for people, the view as JSON for programs."""
    if as_json:
        show_json(view)
    else:
        say(told)


def show_notes(notes: Iterable[str]) -> None:
    """Print the side effects of a change, one sentence per line."""
    for note in notes:
        say(f"{note[:1].upper()}{note[1:]}.")


def warn_of_webhook(problem: str) -> None:
    """Warn that GitHub cannot reach the webhook's URL, if it cannot."""
    if problem:
        say(f"Warning: {problem}.", err=True)


def show_removed(view: RemovedView, *, as_json: bool) -> None:
    """Report what was removed, what was removed with it, and what is left to do."""
    show_done(f"{view.removed} is removed.", view, as_json=as_json)
    if not as_json:
        show_notes(view.notes)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` if it has no rows."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for row in rows:
        table.add_row(*map(_cell, row))
    if not table.row_count:
        say(empty)
        return
    _console().print(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one per line; omit empty values."""
    console = _console()
    for name, value in facts:
        if value not in (None, ""):
            console.print(Text(f"{name:<{FACT_WIDTH}} "), _cell(value), sep="", soft_wrap=True)


def _console() -> Console:
    # Fit a table to a terminal's width; in a file or a pipe each row must stay on one line.
    return Console(width=None if sys.stdout.isatty() else WIDEST_ROW, highlight=False)


def _cell(value: object) -> Text:
    """Write a value on one line, so that outside text cannot add rows or move the cursor."""
    if value is None:
        return Text("-")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    text = str(value)
    # A harmless value keeps its spaces.
    text = text if is_printable(text) else shown_name(text)
    return Text(text, style=COLOURS.get(text, ""))


def ask_secret(what: str, *, confirm: bool = False, whole: bool = False) -> SecretStr:
    """Read a secret from a prompt at a terminal, else from the first line of standard input.

    Args:
        whole: read all of standard input, for a secret that may have several lines.

    Raises:
        ConfigurationError: the input is empty or too long.
    """
    value = _typed(what, confirm=confirm) if sys.stdin.isatty() else _piped(what, whole=whole)
    if len(value) > LARGEST_TEXT:
        raise ConfigurationError(Mistake(what, "is too long"))
    if not value:
        raise ConfigurationError(Mistake(what, "nothing was given on standard input"))
    return SecretStr(value)


def _typed(what: str, *, confirm: bool) -> str:
    try:
        # Prompt on standard error: standard output may go to a program that expects only JSON.
        value: str = typer.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
    except UnicodeDecodeError:
        raise ConfigurationError(Mistake(what, NOT_UTF8)) from None
    if not is_utf8(value):
        raise ConfigurationError(Mistake(what, NOT_UTF8))
    return value


def _piped(what: str, *, whole: bool) -> str:
    content = (sys.stdin.buffer.read if whole else sys.stdin.buffer.readline)(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ConfigurationError(Mistake(what, "is too long"))
    try:
        return as_text(content).rstrip("\r\n")
    except ValueError:
        # Do not say where: that would tell something about the secret.
        raise ConfigurationError(Mistake(what, NOT_UTF8)) from None


def read_text(file: str) -> str:
    """Read the text of a file named on the command line; `-` is standard input.

    Raises:
        ConfigurationError: the file cannot be read, is not text, or is too long.
    """
    try:
        return as_text(_content(file))
    except ValueError as exc:
        raise ConfigurationError(f"{file} {exc}") from None


def _content(file: str) -> bytes:
    if file != PIPE:
        return read_small(Path(file), LARGEST_TEXT)
    content = sys.stdin.buffer.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ValueError(f"is too long: at most {LARGEST_TEXT} bytes")
    return content


def confirmed(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless `yes` is set.

    Raises:
        ConfigurationError: there is no terminal to ask at.
        Abort: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask at; say --yes")
    typer.confirm(question, abort=True)
