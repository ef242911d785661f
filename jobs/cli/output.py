"""The only place that prints: words for people, lines of logs, JSON for programs.

What is printed may quote anybody. Words and lines lose what a terminal would obey; JSON keeps it,
escaped.
"""

import os
import sys

import typer

from jobs.rules.ansi import clean
from jobs.rules.text import plain, safe_json


def say(text: str = "", *, err: bool = False) -> None:
    """Print words for people, on a line of their own."""
    typer.echo(plain(text), err=err)


def say_log(text: str) -> None:
    """Print lines of a log, their ends included: with styles to a terminal that takes them."""
    styled = _takes_styles()
    typer.echo("\n".join(map(clean, text.split("\n"))) if styled else plain(text), nl=False)


def say_json(text: str) -> None:
    """Print JSON."""
    typer.echo(safe_json(text))


def _takes_styles() -> bool:
    # https://no-color.org (read 2026-11-24): any value that is not empty. A pipe wants the words.
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and sys.stdout.isatty()
