"""`keystone router`: writes the router's configuration, then replaces itself with HAProxy."""

import os
from typing import Annotated

import typer

from jobs.cli.output import say
from jobs.cli.servers import become, without_secrets
from jobs.errors import ConfigurationError, PlatformError
from jobs.processes.configuration import read_settings
from jobs.processes.logging import set_up_logging
from jobs.processes.router_server import (
    confined_router_command,
    router_command,
    show_configuration,
    wait_for_silence,
    write_configuration,
)
from jobs.processes.runtime import open_runtime, open_to_change, open_to_read
from jobs.rules.redaction import Redactor
from jobs.settings import Settings, split_keys
from jobs.system.part_users import find_users
from jobs.system.privileges import CAP_NET_BIND_SERVICE, Rights
from jobs.system.run_as import run_as

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def router(
    *,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the configuration; change nothing.")
    ] = False,
    write_only: Annotated[
        bool,
        typer.Option("--write", help="Write it and its files, for a HAProxy of your own."),
    ] = False,
    confined: Annotated[
        bool, typer.Option("--confined", hidden=True, help="Started by root: drop root's rights.")
    ] = False,
) -> None:
    """Run the router alone.

    Without --print or --write, HAProxy is started. With one of them, nothing is started.
    """
    settings = read_settings(Settings, os.environ)
    if print_only:
        say(show_configuration(open_to_read(settings)).removesuffix("\n"))
    elif write_only:
        _write(settings)
    else:
        set_up_logging(Redactor(split_keys(settings.secret_key)))
        wait_for_silence(settings.effective_router_socket)
        command = _confined(settings) if confined else router_command(open_runtime(settings))
        become(command, without_secrets(os.environ))


def _write(settings: Settings) -> None:
    if not settings.router_socket:
        raise ConfigurationError(
            "KEYSTONE_ROUTER_SOCKET is not set: `keystone up` runs a HAProxy of its own, and "
            "writes its configuration; --print shows it"
        )
    path = write_configuration(open_to_change(settings))
    say(f"{path} is written: start your HAProxy with it, or have it load it again.")


def _confined(settings: Settings) -> list[str]:
    """Write the configuration as the workers' user: root must not open a database others write."""
    users = find_users()
    if users is None:
        raise ConfigurationError("the system users of Keystone's parts are missing: `make setup`")
    work, web = users.work, users.web
    writer = Rights(work.uid, web.gid, (work.gid,), (CAP_NET_BIND_SERVICE,))

    def write() -> str:
        write_configuration(open_runtime(settings), users=users)
        return ""

    if problem := run_as(writer, write):
        raise PlatformError(problem)
    return confined_router_command(settings, users)
