"""`keystone worker`, `watcher` and `firewall`: run one of these parts alone."""

import os
from contextlib import closing

import typer

from jobs.processes.configuration import read_settings
from jobs.processes.logging import set_up_logging
from jobs.processes.runtime import Runtime, find_keystone
from jobs.records.identity import known_identity
from jobs.rules.redaction import Redactor
from jobs.settings import Settings, WorkerSettings, split_keys
from jobs.tasks import opened
from jobs.watcher import run_firewall, run_watcher
from jobs.worker import run_worker

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def worker() -> None:
    """Run one worker alone."""
    run_worker(_open())


@commands.command(hidden=True)
def quick_worker() -> None:
    """Run one worker alone that takes only deployments without a build."""
    run_worker(_open(), is_quick=True)


@commands.command(hidden=True)
def watcher() -> None:
    """Run the watcher alone."""
    run_watcher(_open())


@commands.command(hidden=True)
def firewall() -> None:
    """Run the firewall alone: it blocks the cloud's metadata service."""
    settings = read_settings(Settings, os.environ)
    set_up_logging(Redactor())
    # The firewall runs as root and needs no secret, so do not open the vault.
    database, _ = find_keystone(settings)
    with closing(database), database.reading() as session:
        identity = known_identity(session)
    run_firewall(settings, identity)


def _open() -> Runtime[WorkerSettings]:
    settings = read_settings(WorkerSettings, os.environ)
    set_up_logging(Redactor([*split_keys(settings.secret_key), settings.github_token]))
    return opened()
