"""The long-running commands: `up`, and the parts it is made of."""

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import NoReturn

import typer
from pydantic import SecretStr

from jobs.cli.console import open_keystone
from jobs.logs import set_up_logging
from jobs.queries import webhook_url
from jobs.records.access import add_user, users
from jobs.records.audit import KEYSTONE
from jobs.redaction import Redactor
from jobs.redis_server import redis_command
from jobs.router_server import router_command
from jobs.runtime import Runtime, open_runtime
from jobs.settings import (
    PREFIX,
    SECRETS,
    AllSettings,
    AnySettings,
    Settings,
    WebSettings,
    WorkerSettings,
    read_settings,
)
from jobs.states import Role
from jobs.supervise import programs, supervise, take_over
from jobs.watcher import run_watcher
from jobs.web_server import web_command
from jobs.worker import run_worker

commands = typer.Typer()

FIRST_ADMIN = "admin"


@commands.command()
def up() -> None:
    """Run Keystone: web, workers, watcher, router and Redis.

    Stays in the foreground until SIGTERM or Ctrl-C, then stops everything in order and exits 0.
    """
    settings = read_settings(AllSettings, os.environ)
    parts = programs(settings)
    lock = take_over(settings.data_dir)
    runtime = open_keystone()
    password = ensure_admin(runtime)
    runtime.database.close()
    _welcome(settings, password)
    _forget_admin_password()
    supervise(parts, settings.data_dir, lock)


def ensure_admin(runtime: Runtime[AllSettings]) -> SecretStr | None:
    """Make the first user unless there are users; give the password if it was made up here."""
    with runtime.database.writing() as session:
        if users(session):
            return None
        given = runtime.settings.admin_password
        password = given if given.get_secret_value() else SecretStr(secrets.token_urlsafe(12))
        add_user(session, name=FIRST_ADMIN, role=Role.ADMIN, password=password, actor=KEYSTONE)
    return None if given.get_secret_value() else password


def _welcome(settings: Settings, password: SecretStr | None) -> None:
    typer.echo(f"Dashboard and API   {settings.effective_public_url}")
    typer.echo(f"Webhook for GitHub  {webhook_url(settings)}")
    typer.echo(f"Apps                {settings.app_bind}, ports {settings.port_range}")
    typer.echo(f"Data                {settings.data_dir}")
    if password is not None:
        typer.echo(f"Login               {FIRST_ADMIN} / {password.get_secret_value()}")
        typer.echo("                    This password is not shown again.")


def _forget_admin_password() -> None:
    """Keep the password out of the environment of all that is started from here."""
    for name in ("KEYSTONE_ADMIN_PASSWORD", "KEYSTONE_ADMIN_PASSWORD_FILE"):
        os.environ.pop(name, None)


@commands.command(hidden=True)
def web() -> None:
    """Run the web process alone."""
    settings = _begin(WebSettings)
    _become(web_command(settings), _environment_for(WebSettings))


@commands.command(hidden=True)
def worker() -> None:
    """Run one worker alone."""
    run_worker(open_runtime(_begin(WorkerSettings)))


@commands.command(hidden=True)
def watcher() -> None:
    """Run the watcher alone."""
    run_watcher(open_runtime(_begin(WorkerSettings)))


@commands.command(hidden=True)
def router() -> None:
    """Run the router alone."""
    _become(router_command(open_runtime(_begin(Settings))), _environment_for(None))


@commands.command(hidden=True)
def redis() -> None:
    """Run the private Redis alone."""
    _become(redis_command(_begin(Settings)), _environment_for(None))


def _begin(wanted: type[AnySettings]) -> AnySettings:
    settings = read_settings(wanted, os.environ)
    known = [getattr(settings, name) for name in SECRETS & set(wanted.model_fields)]
    set_up_logging(Redactor(known))
    return settings


def _environment_for(wanted: type[Settings] | None) -> dict[str, str]:
    """Give the environment without the secrets that a process may not know; None: of no use."""
    return _without_secrets(os.environ, set(wanted.model_fields) if wanted else set())


def _without_secrets(environ: Mapping[str, str], known: set[str]) -> dict[str, str]:
    secret = {f"{PREFIX}{name.upper()}" for name in SECRETS - known}
    return {name: environ[name] for name in environ if name.removesuffix("_FILE") not in secret}


def _become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Go on as another program, in this very process."""
    os.execve(command[0], list(command), dict(environ))  # noqa: S606 — a list, no shell
