"""`keystone systemd`: run Keystone as a service of systemd."""

import os
from pathlib import Path

import typer

from jobs.cli.output import say
from jobs.cli.systemd_unit import Service, unit_text
from jobs.cli.systemd_unit import install as install_service
from jobs.cli.systemd_unit import remove as remove_service
from jobs.processes.configuration import read_settings
from jobs.settings import PREFIX, AllSettings

commands = typer.Typer(rich_markup_mode=None)
systemd = typer.Typer(
    no_args_is_help=True, help="Run Keystone as a service of systemd: install, show, remove."
)
commands.add_typer(systemd, name="systemd")


@systemd.command()
def show() -> None:
    """Print the systemd unit for the Keystone of this folder; change nothing."""
    say(unit_text(_settings(), Path.cwd(), os.environ).removesuffix("\n"))


@systemd.command()
def install() -> None:
    """Run the Keystone of this folder with systemd, now and whenever the machine starts.

    Its settings come only from the folder's .env: the service does not get your KEYSTONE_…
    variables.
    """
    path = install_service(Service(), _settings(), Path.cwd(), os.environ)
    say(f"{path} is installed, and Keystone is started: `journalctl -u keystone -f`")


@systemd.command()
def remove() -> None:
    """Stop the service and remove its unit. The data stays."""
    say(f"{remove_service(Service())} is removed, and Keystone is stopped.")


def _settings() -> AllSettings:
    """Read the settings as the service will."""
    variables = sorted(name for name in os.environ if name.startswith(PREFIX))
    if variables:
        told = f"{', '.join(variables)}: the service does not get these; write them to .env"
        say(f"keystone: {told}", err=True)
    return read_settings(AllSettings, {})
