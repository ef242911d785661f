"""Follows a requested deployment, its log, or an app's output."""

import time

import typer

from jobs.cli.console import show_json
from jobs.cli.output import say, say_log
from jobs.errors import NotFoundError, PlatformError
from jobs.processes.queue import JOB_TIMEOUT_S
from jobs.processes.runtime import Runtime
from jobs.reads.apps import find_app
from jobs.reads.deployments import deployment_view
from jobs.reads.views import DeploymentView
from jobs.settings import AllSettings
from jobs.states import DeploymentState
from jobs.storage.deployment_log import log_path, read_log

LOOK_EVERY_S = 0.2
OUTPUT_EVERY_S = 0.5
MOST_LINES = 5000  # the most lines that the watcher returns at once


def set_going(
    keystone: Runtime[AllSettings], asked: DeploymentView, told: str, *, wait: bool, as_json: bool
) -> None:
    """Wake a worker for a requested deployment, and follow it if `wait` is set.

    Args:
        keystone: the Keystone of the deployment.
        asked: the deployment, as it was queued.
        told: the message for a person who does not wait.
        wait: whether to follow the log until the deployment is over.
        as_json: whether to print only the deployment, as the API would send it.

    Raises:
        Exit: `wait` is set, and the deployment did not succeed.
    """
    keystone.queue.wake([asked.id], asked.trigger.lane)
    view = follow(keystone, asked.id, quiet=as_json) if wait else asked
    if as_json:
        show_json(view)
    elif not wait:
        say(told)
    if wait and view.state is not DeploymentState.SUCCESS:
        raise typer.Exit(1)


def print_log(keystone: Runtime[AllSettings], deployment: int) -> None:
    """Print the log as far as it is written.

    Raises:
        NotFoundError: there is no such deployment, or it has no log.
    """
    view = _view(keystone, deployment)
    if read_log(log_path(keystone.settings.logs_dir, deployment), limit=1) is None:
        waits = f" and waits: {view.waiting_for}" if view.waiting_for else ""
        raise NotFoundError(f"deployment {deployment} has no log: it is {view.state}{waits}")
    _print_from(keystone, deployment, 0)


def follow(
    keystone: Runtime[AllSettings],
    deployment: int,
    *,
    quiet: bool = False,
    within_s: float = JOB_TIMEOUT_S,
) -> DeploymentView:
    """Print the log as it grows, then the outcome; return the ended deployment.

    Args:
        keystone: the Keystone of the deployment.
        deployment: its id.
        quiet: whether to print nothing and only wait.
        within_s: the time limit in seconds.

    Raises:
        NotFoundError: there is no such deployment.
        PlatformError: the deployment was not over within the time limit.
    """
    deadline = time.monotonic() + within_s
    offset, told = 0, None
    while time.monotonic() < deadline:
        # Read the state before the log, so that the last lines before the end are not missed.
        view = _view(keystone, deployment)
        if not quiet:
            if view.waiting_for not in {None, told}:
                say(f"Waits: {view.waiting_for}")
            told = view.waiting_for
            offset = _print_from(keystone, deployment, offset)
        if view.state.is_over:
            if not quiet:
                say(_outcome(view))
            return view
        time.sleep(LOOK_EVERY_S)
    raise PlatformError(f"deployment {deployment} was not over within {within_s:.0f} s")


def show_output(keystone: Runtime[AllSettings], name: str, *, tail: int, following: bool) -> None:
    """Print the last lines of the app's live container; keep printing until Ctrl-C if following.

    Args:
        keystone: the Keystone of the app.
        name: the app's name.
        tail: how many earlier lines to print; all later lines are printed.
        following: whether to keep printing.

    Raises:
        QueueError: the watcher does not answer.
    """
    after = ""
    while True:
        with keystone.database.reading() as session:
            app = find_app(session, name)
        answer = keystone.bus.ask("output", app_id=app.id, tail=tail, after=after)
        for at, text in answer["lines"]:
            after = at
            say_log(f"{text}\n")
        if not following:
            return
        tail = MOST_LINES
        time.sleep(OUTPUT_EVERY_S)


def _view(keystone: Runtime[AllSettings], deployment: int) -> DeploymentView:
    with keystone.database.reading() as session:
        return deployment_view(session, deployment)


def _print_from(keystone: Runtime[AllSettings], deployment: int, offset: int) -> int:
    path = log_path(keystone.settings.logs_dir, deployment)
    while (part := read_log(path, offset=offset)) is not None and part.text:
        say_log(part.text)
        offset = part.next_offset
    return offset


def _outcome(view: DeploymentView) -> str:
    took = f" after {view.duration_s:.1f} s" if view.duration_s is not None else ""
    reason = f": {view.reason}" if view.reason else ""
    return f"Deployment #{view.number} of {view.app} ended {view.state}{took}{reason}"
