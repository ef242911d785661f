"""The router, as a part of Keystone: reads what is live, then turns into HAProxy."""

import os
from typing import Annotated

import typer

from jobs.cli.output import say
from jobs.cli.servers import become, without_secrets
from jobs.logs import set_up_logging
from jobs.redaction import Redactor
from jobs.router_server import router_command, write_configuration
from jobs.runtime import open_runtime
from jobs.settings import Settings, read_settings, split_keys

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def router(
    *,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the configuration; start nothing.")
    ] = False,
) -> None:
    """Run the router alone.

    With --print its configuration is printed, for a HAProxy that somebody else runs.
    """
    settings = read_settings(Settings, os.environ)
    set_up_logging(Redactor(split_keys(settings.secret_key)))
    runtime = open_runtime(settings)
    if print_only:
        say(write_configuration(runtime).read_text().removesuffix("\n"))
        return
    become(router_command(runtime), without_secrets(os.environ))
