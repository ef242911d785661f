"""The parts of Keystone that do the work: `worker`, `watcher` and `firewall`."""

import os

import typer

from jobs.logs import set_up_logging
from jobs.redaction import Redactor
from jobs.runtime import Runtime
from jobs.settings import WorkerSettings, read_settings, split_keys
from jobs.tasks import opened
from jobs.watcher import run_firewall, run_watcher
from jobs.worker import run_worker

commands = typer.Typer(rich_markup_mode=None)


@commands.command(hidden=True)
def worker() -> None:
    """Run one worker alone."""
    run_worker(_open())


@commands.command(hidden=True)
def watcher() -> None:
    """Run the watcher alone."""
    run_watcher(_open())


@commands.command(hidden=True)
def firewall() -> None:
    """Keep containers from the cloud's metadata service, alone."""
    run_firewall(_open())


def _open() -> Runtime[WorkerSettings]:
    settings = read_settings(WorkerSettings, os.environ)
    set_up_logging(Redactor([*split_keys(settings.secret_key), settings.github_token]))
    return opened()
