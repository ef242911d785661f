"""`keystone systemd`: run Keystone and its router as services of systemd."""

import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.down import confirm_off_air
from jobs.cli.output import say
from jobs.cli.systemd_service import Service
from jobs.cli.systemd_service import install as install_services
from jobs.cli.systemd_service import remove as remove_services
from jobs.cli.systemd_unit import unit_texts
from jobs.processes.configuration import read_settings
from jobs.processes.router_control import runs
from jobs.processes.router_service import configuration_file
from jobs.settings import PREFIX, AllSettings

commands = typer.Typer(rich_markup_mode=None)
systemd = typer.Typer(
    no_args_is_help=True, help="Run Keystone as a service of systemd: install, show, remove."
)
commands.add_typer(systemd, name="systemd")


@systemd.command()
def show() -> None:
    """Print the two systemd units for the Keystone of this folder; change nothing."""
    texts = unit_texts(_settings(), Path.cwd(), os.environ)
    say("\n".join(f"# --- {name}\n{text}" for name, text in texts.items()).removesuffix("\n"))


@systemd.command()
def install() -> None:
    """Run the Keystone of this folder with systemd, now and whenever the machine starts.

    There are two services: the router goes on serving while Keystone is stopped. The settings come
    only from the folder's .env: the services do not get your KEYSTONE_… variables.
    """
    for sentence in install_services(Service(), _settings(), Path.cwd(), os.environ):
        say(sentence)
    say("Keystone is ready: `systemctl status keystone`, `journalctl -u keystone -f`")


@systemd.command()
def remove(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    keep_router: Annotated[
        bool, typer.Option("--keep-router", help="Leave the router's service: the apps stay up.")
    ] = False,
) -> None:
    """Stop the services and remove their units, after saying which apps go off air.

    The data stays, and so do the apps' containers.
    """
    service = Service()
    service.ensure_runs()
    settings = _settings()
    if not keep_router and runs(configuration_file(settings)):
        confirm_off_air(settings, yes=yes)
    for path in remove_services(service, with_router=not keep_router):
        say(f"{path} is removed, and its service is stopped.")


def _settings() -> AllSettings:
    """Read the settings as the service will."""
    variables = sorted(name for name in os.environ if name.startswith(PREFIX))
    if variables:
        told = f"{', '.join(variables)}: the service does not get these; write them to .env"
        say(f"keystone: {told}", err=True)
    return read_settings(AllSettings, {})
