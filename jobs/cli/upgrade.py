"""`keystone upgrade`: replace the running Keystone with the version of this folder."""

import os
import time
from contextlib import closing
from dataclasses import replace
from typing import Annotated

import typer

from jobs.cli.console import actor
from jobs.cli.output import say
from jobs.cli.up import ensure_able
from jobs.errors import ConfigurationError, ConflictError
from jobs.processes.code_copies import this_version
from jobs.processes.configuration import read_settings
from jobs.processes.runtime import find_keystone
from jobs.processes.supervise import is_up, supervisor_pid
from jobs.processes.versions import Running, forget_failed, forget_next, read_next
from jobs.records.identity import known_identity
from jobs.settings import AllSettings
from jobs.system.file_lock import only_one
from jobs.system.installation import code_folder, has_its_packages
from jobs.system.private_folder import ensure_private
from jobs.system.proc import user_of
from jobs.upgrade.environments import remove_unused
from jobs.upgrade.preparing import Tell, prepare, seconds_since
from jobs.upgrade.story import Upgrade
from jobs.upgrade.watching import POLL_S, READY_WITHIN_S, Eye

commands = typer.Typer(rich_markup_mode=None)

LOCK = "upgrade.lock"
STARTS_WITHIN_S = 60.0
OLD = (
    "the Keystone that runs here was started by a version that cannot hand over to another. This "
    "once, stop it, run `make setup`, and start it again (`make run`, or `systemctl start "
    "keystone`): its router ends with it, so the sites are away for some seconds"
)


@commands.command()
def upgrade(
    *,
    ready_within: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How long the new version may take.")
    ] = READY_WITHIN_S,
) -> None:
    """Replace the running Keystone with the version in this folder, without failing a request.

    `make upgrade` installs what that version needs, and then runs this command. If the new version
    is not ready in time, the old one is started again with its database.
    """
    begun = time.monotonic()
    settings = read_settings(AllSettings, os.environ)
    if not has_its_packages(code_folder()):
        raise ConfigurationError("this version needs other packages: run `make upgrade`")
    ensure_able(settings)
    if not is_up(settings.data_dir):
        forget_failed(settings.run_dir)
        forget_next(settings.run_dir)
        say(f"No Keystone runs in {settings.data_dir}; `make run` starts this version.")
        return
    lock = ensure_private(settings.run_dir) / LOCK
    with only_one(lock, "another upgrade of this Keystone is at work"):
        _upgrade(settings, ready_within, lambda line: say(f"{seconds_since(begun)}  {line}"))


def _upgrade(settings: AllSettings, ready_within_s: float, tell: Tell) -> None:
    database, _ = find_keystone(settings)
    with closing(database), database.reading() as session:
        eye = Eye(settings, known_identity(session), ready_within_s)
    running = _running(settings, eye)
    after = this_version(settings.data_dir)
    if not running.version.is_same(after):
        tell(f"{running.version.in_words} runs; {after.in_words} shall run")
        plan = prepare(settings, running, after, tell)
        Upgrade(settings, running, after, eye, actor(), tell).run(plan)
    elif _is_unfinished(settings, running) and running.previous:
        tell("an upgrade to this version was interrupted; waiting until it is ready")
        before = replace(running, version=running.previous)
        Upgrade(settings, before, after, eye, actor(), tell).finish()
    else:
        forget_next(settings.run_dir)
        say(f"{after.in_words} runs already.")
        return
    remove_unused(kept=(after.python, running.version.python))
    tell(f"{after.in_words} runs, and is ready")


def _is_unfinished(settings: AllSettings, running: Running) -> bool:
    wanted = read_next(settings.run_dir)
    return wanted is not None and wanted.version.code == running.version.code


def _running(settings: AllSettings, eye: Eye) -> Running:
    """Give the version that runs, once its supervisor has started.

    Raises:
        ConflictError: another user runs it, or a version without a hand-over.
    """
    deadline = time.monotonic() + STARTS_WITHIN_S
    while (found := eye.running()) is None:
        if supervisor_pid(settings.run_dir) or time.monotonic() > deadline:
            raise ConflictError(OLD)
        time.sleep(POLL_S)
    if user_of(found.pid) != os.getuid():
        raise ConflictError("another user runs this Keystone; run `make upgrade` as that user")
    return found
