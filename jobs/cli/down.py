"""`keystone down`: stop Keystone and its router."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer
from sqlmodel import Session, col, select

from jobs.cli.console import confirmed
from jobs.cli.output import say
from jobs.cli.systemd_service import Service
from jobs.cli.systemd_service import stop as stop_services
from jobs.errors import KeystoneError
from jobs.processes.configuration import read_settings
from jobs.processes.router_control import runs
from jobs.processes.router_service import configuration_file, stop_keystone, stop_router
from jobs.processes.runtime import open_to_read
from jobs.processes.supervise import is_up
from jobs.reads.apps import view_of
from jobs.settings import AllSettings
from jobs.storage.models import App

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def down(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    keep_router: Annotated[
        bool, typer.Option("--keep-router", help="Let the router serve the apps.")
    ] = False,
) -> None:
    """Stop Keystone and its router, after saying which apps go off air.

    The apps' containers keep running; `keystone up` makes them reachable again.
    """
    settings = read_settings(AllSettings, os.environ)
    is_served = runs(configuration_file(settings)) and not settings.router_socket
    is_ended = is_served and not keep_router
    if not is_served and not is_up(settings.data_dir):
        say("Keystone is down already.")
        return
    if is_ended:
        confirm_off_air(settings, yes=yes)
    elif not settings.router_socket:
        say("The router goes on serving the apps.")
    for name in stop_services(Service(), settings, with_router=is_ended):
        say(f"{name} is stopped; the machine's next start starts it again.")
    if stop_keystone(settings):
        say("Keystone is stopped.")
    if is_ended:
        stop_router(settings)
        say("The router is stopped.")


def confirm_off_air(settings: AllSettings, *, yes: bool) -> None:
    """Name the apps that go off air with the router, and ask."""
    apps = _live_apps(settings)
    for line in apps:
        say(line)
    count = f"{len(apps)} app{'' if len(apps) == 1 else 's'}"
    confirmed(f"Stop Keystone and its router? {count} will not be reachable.", yes=yes)


def _live_apps(settings: AllSettings) -> Sequence[str]:
    """Give the apps that the router serves, with their addresses."""
    try:
        runtime = open_to_read(settings)
    except KeystoneError as exc:
        # A broken database must not prevent the stop.
        say(f"keystone: the apps are not known: {exc}", err=True)
        return []
    try:
        with runtime.database.reading() as session:
            return _lines(session, settings)
    finally:
        runtime.database.close()


def _lines(session: Session, settings: AllSettings) -> list[str]:
    live = select(App).where(col(App.live_address).is_not(None)).order_by(App.name)
    views = [view_of(session, app, settings) for app in session.exec(live).all()]
    return [f"  {view.name}  {'  '.join([view.url, *view.domains])}" for view in views]
