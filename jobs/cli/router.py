"""The router, as a part of Keystone: reads what is live, then turns into HAProxy."""

import os

import typer

from jobs.cli.servers import become, without_secrets
from jobs.logs import set_up_logging
from jobs.redaction import Redactor
from jobs.router_server import router_command
from jobs.runtime import open_runtime
from jobs.settings import Settings, read_settings

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def router() -> None:
    """Run the router alone."""
    settings = read_settings(Settings, os.environ)
    set_up_logging(Redactor([settings.secret_key]))
    become(router_command(open_runtime(settings)), without_secrets(os.environ))
