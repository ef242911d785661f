"""The only module that prints: text for people, lines of logs, JSON for programs.

The output may quote untrusted text. Characters that a terminal interprets are removed from text and
lines; JSON keeps them, escaped.
"""

import os
import sys

import typer

from jobs.rules.ansi import clean
from jobs.rules.text import plain, safe_json


def say(text: str = "", *, err: bool = False) -> None:
    """Print text for people, followed by a line end."""
    typer.echo(plain(text), err=err)


def say_log(text: str) -> None:
    """Print lines of a log, including their line ends; with styles if the terminal allows them."""
    styled = _takes_styles()
    typer.echo("\n".join(map(clean, text.split("\n"))) if styled else plain(text), nl=False)


def say_json(text: str) -> None:
    """Print JSON."""
    typer.echo(safe_json(text))


def _takes_styles() -> bool:
    # https://no-color.org (read 2026-11-24): any non-empty value. A pipe gets plain text.
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and sys.stdout.isatty()
