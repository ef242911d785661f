"""`keystone up`: run all parts of one Keystone, and keep them running."""

import os
import secrets
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer
from pydantic import SecretStr

from jobs.cli.output import say
from jobs.errors import (
    ConfigurationError,
    ConflictError,
    KeystoneError,
    Mistake,
    PlatformError,
    RouterError,
)
from jobs.processes import hand_over
from jobs.processes.build_limits import bound_builds
from jobs.processes.code_copies import keep_only, this_version
from jobs.processes.configuration import read_settings, to_environment
from jobs.processes.docker_login_copy import sources
from jobs.processes.metadata import unblock_metadata
from jobs.processes.redis_server import find_redis_server
from jobs.processes.rotation import remember_ring
from jobs.processes.router_control import runs
from jobs.processes.router_server import find_haproxy, is_free
from jobs.processes.router_service import bring_up, configuration_file, keeper_arguments
from jobs.processes.runtime import Runtime, open_runtime
from jobs.processes.separation import Apart, Together, note_users, separate
from jobs.processes.supervise import claim_identity, programs, supervise, take_over
from jobs.processes.versions import (
    Running,
    Version,
    failed_code,
    forget_next,
    forget_parts,
    read_next,
    read_running,
    write_running,
)
from jobs.processes.watched import Watched
from jobs.reads.apps import webhook_problem, webhook_url
from jobs.reads.people import users
from jobs.records.users import add_user
from jobs.rules.actors import KEYSTONE
from jobs.rules.passwords import weakness
from jobs.settings import PREFIX, AllSettings
from jobs.states import Role
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.system import earlier_web
from jobs.system.installation import code_folder, has_its_packages
from jobs.system.out_of_memory import go_last
from jobs.system.router_files import LOCK
from jobs.system.router_key import ensure_router_key

commands = typer.Typer(rich_markup_mode=None)

FIRST_ADMIN = "admin"
FIRST_PASSWORD = f"{PREFIX}ADMIN_PASSWORD"


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
    inherited = hand_over.inherit(os.environ)
    environ = dict(os.environ)
    words = [
        *(["--owner", str(owner)] if owner is not None else []),
        *(["--no-router"] if no_router else []),
    ]
    try:
        _run(inherited, words, owner=owner, no_router=no_router)
    except Exception as exc:
        if before := inherited.before:
            say(f"keystone: this version does not start, so {before.in_words} goes on", err=True)
            say(f"keystone: {exc}", err=True)
            given = hand_over.note_given(before, environ, PREFIX, words)
            with suppress(OSError):
                hand_over.become(before, given, replace(inherited, before=None))
        raise


def _run(
    inherited: hand_over.Inherited, words: Sequence[str], *, owner: int | None, no_router: bool
) -> None:
    settings = read_settings(AllSettings, os.environ)
    ensure_able(settings)
    lock = take_over(settings.data_dir, inherited.claims)
    version = this_version(settings.data_dir)
    given = hand_over.note_given(version, os.environ, PREFIX, words, forget=(FIRST_PASSWORD,))
    if not inherited.is_handed_over:
        _run_wanted(settings, version, given, lock)
    if not inherited.children.get(hand_over.WEB):
        ensure_port(settings)
    runtime = open_runtime(settings)
    claim = claim_identity(runtime.identity, settings.data_dir, inherited.claims)
    remember_ring(runtime)
    ensure_router_key(settings.run_dir)  # the parts may not write to its folder
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
    _note_version(settings.data_dir, settings.run_dir, given)
    if not settings.router_socket:
        watched = _with_router(
            settings, users, watched, claims=(lock, claim), owner=owner, is_elsewhere=no_router
        )
    parts = programs(settings, users)
    _take_children_over(inherited, users)
    supervise(parts, settings.data_dir, lock, claim, watched=watched, given=given)


def _take_children_over(inherited: hand_over.Inherited, users: Apart | Together) -> None:
    """End Redis; tell the new web process of the earlier one, which it ends when it can serve."""
    hand_over.end_redis(inherited)
    web_user = os.getuid() if isinstance(users, Together) else users.users.web.uid
    webs = earlier_web.end_of_other_users(inherited.children.get(hand_over.WEB, ()), web_user)
    os.environ[earlier_web.VARIABLE] = earlier_web.as_text(webs)


def _run_wanted(
    settings: AllSettings, version: Version, given: hand_over.Given, lock: TextIO
) -> None:
    """Become another version, if that one shall run instead of this folder's code."""
    wanted, last = read_next(settings.run_dir), read_running(settings.run_dir)
    if wanted and _is_meant(settings, version, {wanted.version, *([last.version] if last else [])}):
        if wanted.undo:
            hand_over.undo_schema(wanted.undo, given)
        other: Version | None = wanted.version
    else:
        # A third version is in this folder by now: whoever put it there decides.
        forget_next(settings.run_dir)
        other = _earlier(settings, version, last)
    if other and not other.is_same(version):
        left = hand_over.Inherited((lock.fileno(),), is_handed_over=True)
        hand_over.become(other, given, left)


def _is_meant(settings: AllSettings, version: Version, known: Collection[Version]) -> bool:
    """Whether the version that shall run next was chosen with this folder's code in mind."""
    is_known = version.code in {each.code for each in known}
    return is_known or not _can_run(settings, version)


def _can_run(settings: AllSettings, version: Version) -> bool:
    has_failed = failed_code(settings.run_dir) == Path(version.code).name
    return not has_failed and has_its_packages(code_folder())


def _earlier(settings: AllSettings, version: Version, last: Running | None) -> Version | None:
    """Give the version that ran last, if this folder's code cannot run or did not get ready."""
    if last is None or not last.version.is_there or last.version.code == version.code:
        return None
    if _can_run(settings, version):
        return None
    say(
        "keystone: the code in this folder did not get ready, or needs other packages, so "
        f"{last.version.in_words} runs; `make upgrade` tries the new one",
        err=True,
    )
    return last.version


def _note_version(data_dir: Path, run_dir: Path, given: hand_over.Given) -> None:
    """Store which version runs, and let every part run from the copy of its code."""
    running = Running.now(given.version, given.folder, read_running(run_dir))
    wanted = read_next(run_dir)
    forget_parts(run_dir)
    write_running(run_dir, running)
    kept = [running.version, running.previous, wanted.version if wanted else None]
    keep_only(data_dir, [each.code for each in kept if each])
    path = hand_over.code_first(given.version, given.variables)[hand_over.PATH]
    os.environ[hand_over.PATH] = path


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
    if problem := webhook_problem(settings):
        say(f"                    {problem}.")
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
    watched = Watched(settings.mirrors_dir, database, (settings.host, settings.port))
    if isinstance(users, Together):
        return watched
    logins, reader = sources(os.environ, Path.home()), users.users.work.uid
    return replace(watched, logins=logins, copies=settings.docker_dir, reader=reader)


def _with_router(
    settings: AllSettings,
    users: Apart | Together,
    watched: Watched,
    *,
    claims: Sequence[TextIO],
    owner: int | None,
    is_elsewhere: bool,
) -> Watched:
    """Bring the router up, and let the supervisor watch it."""
    arguments = keeper_arguments(settings, users, owner=owner)
    bring = partial(bring_up, settings, users, arguments, keeper_elsewhere=is_elsewhere)
    if runs(configuration_file(settings)):
        # Requests wait at that router for the web process, so do not make them wait longer.
        _meanwhile(bring, claims)
    else:
        try:
            bring()
        except RouterError as exc:
            # The supervisor starts the keeper again.
            say(f"keystone: {exc}", err=True)
    return replace(
        watched,
        run_dir=settings.run_dir,
        keeper=() if is_elsewhere else tuple(arguments),
        router_lock=settings.router_dir / LOCK,
    )


def _meanwhile(do: Callable[[], None], claims: Sequence[TextIO]) -> None:
    """Do something in a child process, which only tells of its failure."""
    if os.fork():
        return
    try:
        for claim in claims:
            claim.close()  # the child may outlive us, and must not hold what we have claimed
        do()
    except KeystoneError as exc:
        say(f"keystone: {exc}", err=True)
    except Exception:  # noqa: BLE001 — nothing above this may run twice
        traceback.print_exc()
    finally:
        os._exit(0)


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
