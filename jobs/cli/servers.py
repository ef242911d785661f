"""`keystone web` and `keystone redis`: replace this process with another program.

This module imports little, so that Redis is up before the other parts need it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer

from jobs.processes.configuration import read_settings
from jobs.processes.redis_server import redis_command
from jobs.processes.web_server import web_command
from jobs.settings import PREFIX, SECRETS, Settings, WebSettings

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def web() -> None:
    """Run the web process alone."""
    settings = read_settings(WebSettings, os.environ)
    become(web_command(settings), without_secrets(os.environ, but_for=WebSettings))


@commands.command(hidden=True)
def redis() -> None:
    """Run the private Redis alone."""
    settings = read_settings(Settings, os.environ)
    become(redis_command(settings), without_secrets(os.environ))


def without_secrets(
    environ: Mapping[str, str], *, but_for: type[Settings] | None = None
) -> dict[str, str]:
    """Give an environment without Keystone's secrets, except those of the class `but_for`."""
    known = set(but_for.model_fields) if but_for else set()
    unknown = {f"{PREFIX}{name.upper()}" for name in SECRETS - known}
    return {name: environ[name] for name in environ if name.removesuffix("_FILE") not in unknown}


def become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process with another program; this function does not return."""
    os.execve(command[0], list(command), dict(environ))  # noqa: S606 — a list, no shell
