"""`keystone router`: runs the router's keeper in the foreground, and reloads the router."""

import logging
import os
from typing import Annotated

import typer

from jobs.cli.output import say
from jobs.cli.servers import become
from jobs.errors import ConfigurationError, PlatformError
from jobs.processes.configuration import read_settings
from jobs.processes.logging import set_up_logging
from jobs.processes.router_control import (
    keeper_command,
    keeper_environment,
    reload_router,
    router_state,
)
from jobs.processes.router_server import show_configuration, write_configuration
from jobs.processes.router_service import (
    configuration_file,
    keeper_arguments,
    separate_users,
    stop_router,
    write_files,
)
from jobs.processes.runtime import open_to_change, open_to_read
from jobs.processes.separation import Apart, Together, judge
from jobs.rules.redaction import Redactor
from jobs.settings import Settings, split_keys
from jobs.system.router_files import RELOAD_WANTED

commands = typer.Typer(rich_markup_mode=None)
logger = logging.getLogger(__name__)


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
    reload: Annotated[
        bool,
        typer.Option("--reload", help="Write it, and let the running router load it hitlessly."),
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the router: no app is reachable any more.")
    ] = False,
    owner: Annotated[
        int | None, typer.Option("--owner", hidden=True, help="The router ends with this process.")
    ] = None,
) -> None:
    """Run the router alone, in the foreground: HAProxy, and the keeper that starts it again.

    With one of the options, nothing is started. A reload also takes a new HAProxy program, and no
    request fails. SIGTERM stops the router; a keeper that is killed leaves HAProxy serving.
    """
    settings = read_settings(Settings, os.environ)
    if print_only:
        say(show_configuration(open_to_read(settings)).removesuffix("\n"))
    elif write_only:
        _write(settings)
    elif reload:
        _reload(settings)
    elif stop:
        stop_router(settings)
    else:
        _run(settings, owner)


def _write(settings: Settings) -> None:
    if not settings.router_socket:
        raise ConfigurationError(
            "KEYSTONE_ROUTER_SOCKET is not set: `keystone up` runs a HAProxy of its own, and "
            "writes its configuration; --print shows it"
        )
    path = write_configuration(open_to_change(settings))
    say(f"{path} is written: start your HAProxy with it, or have it load it again.")


def _reload(settings: Settings) -> None:
    if settings.router_socket:
        raise ConfigurationError(
            "KEYSTONE_ROUTER_SOCKET is set: `keystone router --write` writes the configuration, "
            "and you reload your HAProxy"
        )
    open_to_change(settings).database.close()
    write_files(settings, separate_users(settings))
    # After the files are written: whoever asks from now on misses something else.
    (settings.router_dir / RELOAD_WANTED).unlink(missing_ok=True)
    reload_router(settings.run_dir)
    state = router_state(settings.run_dir)
    say(f"HAProxy {state.haproxy if state else ''} was reloaded.")


def _run(settings: Settings, owner: int | None) -> None:
    set_up_logging(Redactor(split_keys(settings.secret_key)))
    users = judge(settings, os.environ) if separate_users(settings) else Together()
    arguments = keeper_arguments(settings, users, owner=owner)
    try:
        write_files(settings, users.users if isinstance(users, Apart) else None)
    except PlatformError as exc:
        if not configuration_file(settings).exists():
            raise
        # The files say what the router served last: better than to serve nothing.
        logger.warning("%s", exc, extra={"action": "router_files_not_written"})
    become(keeper_command(arguments), keeper_environment(os.environ))
