"""`keystone up`: run all parts of one Keystone, and keep them running."""

import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from jobs.adapters.haproxy.files import LOCK
from jobs.cli.output import say
from jobs.errors import ConfigurationError, ConflictError, Mistake, PlatformError, RouterError
from jobs.processes.build_limits import bound_builds
from jobs.processes.configuration import read_settings, to_environment
from jobs.processes.docker_login_copy import sources
from jobs.processes.metadata import unblock_metadata
from jobs.processes.redis_server import find_redis_server
from jobs.processes.rotation import remember_ring
from jobs.processes.router_server import find_haproxy, is_free
from jobs.processes.router_service import bring_up, keeper_arguments
from jobs.processes.runtime import Runtime, open_runtime
from jobs.processes.separation import Apart, Together, note_users, separate
from jobs.processes.supervise import claim_identity, programs, supervise, take_over
from jobs.processes.watched import Watched
from jobs.reads.apps import webhook_url
from jobs.reads.people import users
from jobs.records.users import add_user
from jobs.rules.actors import KEYSTONE
from jobs.rules.passwords import weakness
from jobs.settings import PREFIX, AllSettings
from jobs.states import Role
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.system.out_of_memory import go_last
from jobs.system.router_key import ensure_router_key

commands = typer.Typer(rich_markup_mode=None)

FIRST_ADMIN = "admin"


@commands.command()
def up(
    *,
    owner: Annotated[
        int | None, typer.Option("--owner", hidden=True, help="The router ends with this process.")
    ] = None,
    no_router: Annotated[
        bool, typer.Option("--no-router", hidden=True, help="Another service runs the router.")
    ] = False,
) -> None:
    """Run Keystone: web, workers, watcher, router and Redis.

    Stays in the foreground until SIGTERM or Ctrl-C, then stops everything in order and exits 0,
    except for the router: the apps stay reachable. `keystone down` stops the router, too.
    """
    settings = read_settings(AllSettings, os.environ)
    ensure_able(settings)
    lock = take_over(settings.data_dir)
    ensure_port(settings)
    runtime = open_runtime(settings)
    claim = claim_identity(runtime.identity, settings.data_dir)
    remember_ring(runtime)
    ensure_router_key(settings.router_key_file)  # the parts may not write to its folder
    password = ensure_admin(runtime)
    runtime.database.close()
    users = separate(settings, os.environ)
    note_users(settings, users)
    _welcome(settings, password)
    _tell_of_users(users)
    _prepare_machine(settings, runtime.identity)
    watched = _watched(settings, users)
    watched.login_copy.refresh()
    _tell_parts(settings)
    if not settings.router_socket:
        watched = _with_router(settings, users, watched, owner=owner, is_elsewhere=no_router)
    supervise(programs(settings, users), settings.data_dir, lock, claim, watched=watched)


def ensure_able(settings: AllSettings) -> None:
    """Check that the programs that Keystone runs are installed.

    Raises:
        ConfigurationError: programs are missing, with a sentence for each.
    """
    missing = []
    if not settings.redis_url and find_redis_server() is None:
        missing.append("redis-server is not installed: `apt-get install redis-server`")
    if not settings.router_socket and find_haproxy() is None:
        missing.append("haproxy is not installed: `apt-get install haproxy`")
    if missing:
        raise ConfigurationError(*missing)


def ensure_port(settings: AllSettings) -> None:
    """Check that the web process will be able to listen on its port.

    Raises:
        ConflictError: another program listens there.
    """
    if not is_free(settings.host, settings.port):
        raise ConflictError(
            f"another program listens on {settings.host}:{settings.port}; "
            "stop it, or set KEYSTONE_PORT"
        )


def ensure_admin(runtime: Runtime[AllSettings]) -> SecretStr | None:
    """Add the first user if there are none; return the password if it was generated here.

    Raises:
        ConfigurationError: the password from the settings is needed, but is too easy to guess.
    """
    given = runtime.settings.admin_password
    password = given if given.get_secret_value() else SecretStr(secrets.token_urlsafe(12))
    with runtime.database.writing() as session:
        if users(session):
            return None
        if reason := weakness(password.get_secret_value(), [FIRST_ADMIN]):
            raise ConfigurationError(Mistake("KEYSTONE_ADMIN_PASSWORD", reason))
        add_user(session, name=FIRST_ADMIN, role=Role.ADMIN, password=password, actor=KEYSTONE)
    return None if given.get_secret_value() else password


def _welcome(settings: AllSettings, password: SecretStr | None) -> None:
    say(f"Dashboard and API   {settings.effective_public_url}")
    say(f"Webhook for GitHub  {webhook_url(settings)}")
    say(f"Apps                {settings.app_bind}, ports {settings.port_range}")
    say(f"Data                {settings.data_dir}")
    if password is not None:
        say(f"Login               {FIRST_ADMIN} / {password.get_secret_value()}")
        say("                    This password is not shown again.")


def _tell_of_users(users: Apart | Together) -> None:
    if isinstance(users, Together) and users.reason:
        say(f"keystone: everything runs as root: {users.reason}; {users.fix}", err=True)


def _watched(settings: AllSettings, users: Apart | Together) -> Watched:
    url = settings.effective_database_url
    database = sqlite_path(url) if is_sqlite(url) else None
    if isinstance(users, Together):
        return Watched(settings.mirrors_dir, database)
    logins = sources(os.environ, Path.home())
    return Watched(
        settings.mirrors_dir, database, logins, settings.docker_dir, users.users.work.uid
    )


def _with_router(
    settings: AllSettings,
    users: Apart | Together,
    watched: Watched,
    *,
    owner: int | None,
    is_elsewhere: bool,
) -> Watched:
    """Bring the router up, and let the supervisor watch it."""
    arguments = keeper_arguments(settings, users, owner=owner)
    try:
        bring_up(settings, users, arguments, keeper_elsewhere=is_elsewhere)
    except RouterError as exc:
        # The apps are still served as before, or the supervisor starts the keeper again.
        say(f"keystone: {exc}", err=True)
    return replace(
        watched,
        run_dir=settings.run_dir,
        keeper=() if is_elsewhere else tuple(arguments),
        router_lock=settings.router_dir / LOCK,
    )


def _tell_parts(settings: AllSettings) -> None:
    """Put the settings that were read into the environment, for all processes started from here.

    The parts may be unable to read the files of the settings, and may run in other folders.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    settled = settings.model_copy(update={"admin_password": SecretStr("")})
    os.environ.update(to_environment(settled))


def _prepare_machine(settings: AllSettings, identity: str) -> None:
    """Do the steps that need root, while we are root; a failed step only prints a message."""
    go_last()
    for prepare in (bound_builds, *(() if settings.block_metadata else (unblock_metadata,))):
        try:
            prepare(settings, identity)
        except PlatformError as exc:
            say(f"keystone: {exc}", err=True)
