"""The list of all commands, and the one place where errors become exit codes.

The modules of the commands are imported only when they are run: with the database and the queue the
imports take most of a second, and `keystone --help` must be fast.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from jobs.cli.output import say
from jobs.errors import (
    ConfigurationError,
    ConflictError,
    KeystoneError,
    NotFoundError,
    PlatformError,
)
from jobs.rules.text import is_utf8, shown_name
from jobs.system.utf8 import ensure_utf8

EXIT_CODES = {ConfigurationError: 2, NotFoundError: 3, ConflictError: 4, PlatformError: 5}
EXIT_OTHERWISE = 1
SHOWN_ARGUMENT = 50  # characters of a wrong argument in the error message
NOT_ALLOWED = "keystone: run this as the user that runs `keystone up` (`sudo`, if that is root)"
EXIT_HELP = (
    "Exit codes: 0 done · 1 refused, or the deployment did not succeed · 2 wrong usage or settings "
    "· 3 not found · 4 it does not fit the present state · 5 something Keystone needs does not "
    "answer. Settings are KEYSTONE_… variables, in the environment or in .env; `keystone config` "
    "lists them."
)

# The classes that typer makes from a function and from a group of functions. Typer's copy of click
# is private, and the package `click` that other packages install has other classes.
Command = TyperCommand | TyperGroup


@dataclass(frozen=True)
class Entry:
    """The module of a command, and the first line of its help."""

    module: str
    help: str
    hidden: bool = False


CONTENTS = {
    "up": Entry("up", "Run Keystone: web, workers, watcher, router and Redis."),
    "down": Entry("down", "Stop Keystone and its router, after saying which apps go off air."),
    "demo": Entry("demo", "Deploy a sample app twice, and show that no request fails."),
    "doctor": Entry("system", "Check everything that Keystone needs, and say how to fix it."),
    "config": Entry("system", "Show the effective settings, without secrets."),
    "app": Entry("apps", "Add, list, show, change and remove apps."),
    "env": Entry("environment", "Set, list and remove an app's environment variables."),
    "apply": Entry(
        "apply",
        "Change the apps to match a file: show the difference, ask, apply everything or nothing.",
    ),
    "deploy": Entry("deployments", "Deploy an app now."),
    "rollback": Entry(
        "rollback", "Start an earlier release again, as it was, and pause auto-deploy."
    ),
    "releases": Entry("rollback", "List the releases that were live, newest first."),
    "cancel": Entry("deployments", "Cancel a deployment that is queued or running."),
    "status": Entry("deployments", "Show the state of all apps, or one app and its deployments."),
    "logs": Entry("deployments", "Show an app's output, or the log of a deployment."),
    "certificate": Entry("certificates", "Set, list and remove the certificates of domains."),
    "webhook-secret": Entry("webhook_secret", "Change the secret GitHub signs pushes with."),
    "repository": Entry(
        "repositories", "List repositories, set their GitHub ids, and remove unused ones."
    ),
    "hook": Entry("hooks", "Install the webhook of an app's repository on GitHub."),
    "deliveries": Entry("deliveries", "Show GitHub's deliveries and their outcomes, newest first."),
    "user": Entry("access", "Add, list, change and remove users who may log in."),
    "token": Entry("access", "Create, list and revoke tokens for the API."),
    "audit": Entry("audit", "Show who did what to which thing, newest first."),
    "backup": Entry("backup", "Back up this Keystone into one file, while it runs."),
    "restore": Entry(
        "backup",
        "Restore a Keystone from a backup; the next `keystone up` deploys its apps again.",
    ),
    "rotate-key": Entry("keys", "Seal all stored secrets with a new key, while Keystone runs."),
    "upgrade": Entry(
        "upgrade",
        "Replace the running Keystone with the version in this folder, without failing a request.",
    ),
    "systemd": Entry("systemd", "Run Keystone as a service of systemd: install, show, remove."),
    "migrate": Entry("system", "Migrate the database to the schema of this version."),
    "web": Entry("servers", "Run the web process alone.", hidden=True),
    "worker": Entry("workers", "Run one worker alone.", hidden=True),
    "quick-worker": Entry(
        "workers", "Run one worker alone that takes only deployments without a build.", hidden=True
    ),
    "watcher": Entry("workers", "Run the watcher alone.", hidden=True),
    "firewall": Entry(
        "workers", "Run the firewall alone: it blocks the cloud's metadata service.", hidden=True
    ),
    "router": Entry(
        "router",
        "Run the router alone, in the foreground: HAProxy, and the keeper that starts it again.",
        hidden=True,
    ),
    "redis": Entry("servers", "Run the private Redis alone.", hidden=True),
}


class Contents(TyperGroup):
    """The commands by name; each one is loaded just before it runs."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002
        """List all commands in the order of `CONTENTS`."""
        return list(CONTENTS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002
        """Give a placeholder with the help that the overview shows for a command."""
        entry = CONTENTS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.help, hidden=entry.hidden)

    def resolve_command(
        self,
        ctx: Any,  # noqa: ANN401 — typer has no public name for its type
        args: list[str],
    ) -> tuple[str | None, Command | None, list[str]]:
        """Find the command to run, and load it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Command:
    """Import a command's module, and give the real command."""
    module = importlib.import_module(f"jobs.cli.{CONTENTS[name].module}")
    return cast(Command, typer.main.get_group(module.commands).commands[name])


cli = typer.Typer(
    cls=Contents,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 — typer's own signature
    if wanted:
        say(f"keystone {version('keystone')}")
        raise typer.Exit


@cli.callback(epilog=EXIT_HELP)
def keystone(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn a `git push` into a running container."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit with one of the documented codes."""
    # Files that are written may hold sources, output or secrets, so only the owner may read them.
    os.umask(0o077)
    if arguments is None:
        ensure_utf8()
        arguments = sys.argv[1:]
    try:
        _ensure_text(arguments)
        cli(arguments)
    except KeystoneError as exc:
        for sentence in str(exc).splitlines():
            say(f"keystone: {shown_name(sentence)}", err=True)
        if isinstance(exc.__cause__, PermissionError):
            say(NOT_ALLOWED, err=True)
        sys.exit(exit_code(exc))
    except PermissionError as exc:
        say(f"keystone: you may not use {shown_name(str(exc.filename))}", err=True)
        say(NOT_ALLOWED, err=True)
        sys.exit(EXIT_OTHERWISE)
    except BrokenPipeError:
        # The reader of our output has exited, like `head` does, so nothing can be reported.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OTHERWISE)


def _ensure_text(arguments: Sequence[str]) -> None:
    for number, argument in enumerate(arguments, 1):
        if not is_utf8(argument):
            shown = shown_name(argument[:SHOWN_ARGUMENT])
            raise ConfigurationError(f"argument {number} is not text in UTF-8: {shown}")


def exit_code(error: KeystoneError) -> int:
    """Give the exit code for the kind of an error."""
    kinds = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
    return next(kinds, EXIT_OTHERWISE)
