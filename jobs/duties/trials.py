"""Judges releases on trial: a release whose container ends twice in its first minute is withdrawn.

So is one whose container has ended once and is still down when the minute is over.

The health check runs only before the switch. An app may still end right after it: its workers
cannot start, a connection that it needs is refused, it runs out of memory under real requests. Then
the previous release, whose container is kept ready, automatically serves again.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum, auto

from sqlmodel import Session, col, select

from jobs.deployment.work import Tools
from jobs.errors import KeystoneError
from jobs.processes.runtime import Runtime
from jobs.records.recoveries import go_back, has_open_recovery
from jobs.records.trials import (
    FORGIVEN_ENDS,
    TRIAL,
    count_ends,
    end_trial,
    forget_fallback,
)
from jobs.rules.container_values import Container, OutputLine
from jobs.rules.redaction import Redactor
from jobs.rules.variables import secrets_of
from jobs.settings import WorkerSettings
from jobs.states import ContainerState, Lane, Restart, StepName
from jobs.steps.output import LINES_SHOWN, write_output
from jobs.storage.deployment_log import DeploymentLog, log_path
from jobs.storage.environments import open_environment
from jobs.storage.models import App, Release, now

logger = logging.getLogger(__name__)

# A watcher that was down counts every end as one during the trial. It does not do so hours later,
# when the container may have ended for many other reasons.
JUDGED_UNTIL = timedelta(minutes=5)


class Verdict(Enum):
    """The outcome of a trial so far."""

    WAITS = auto()
    STANDS = auto()
    FAILED = auto()


def judge_trial(
    runtime: Runtime[WorkerSettings], tools: Tools, seen: App, container: Container
) -> None:
    """Count how often the live container of an app on trial has ended, and act on it.

    Args:
        seen: the app as it was when its container was inspected.
        container: its live container, as the engine describes it.

    Raises:
        PlatformError: the engine or the database failed; the next inspection judges again.
    """
    if seen.trial_ends_at is None or not _has_news(seen, container):
        return
    with runtime.database.writing() as session:
        app = _on_trial(session, seen, container)
        if app is None:
            return
        count_ends(app, ends_counted(container))
        verdict = judge(app, container, _restart_of(session, app))
        if verdict is Verdict.STANDS:
            end_trial(app)
    if verdict is Verdict.FAILED:
        _withdraw(runtime, tools, seen, container)


def judge(app: App, container: Container, restart: Restart) -> Verdict:
    """Judge a release on trial, after its container's ends were counted."""
    moment, ends_at = now(), app.trial_ends_at or now()
    has_failed = app.live_ends > FORGIVEN_ENDS or is_over_for_good(container, restart)
    # Each restart comes later than the one before: a container can be down from its one end on.
    is_down = container.state is ContainerState.RESTARTING and moment >= ends_at
    if (has_failed or is_down) and moment < ends_at + JUDGED_UNTIL:
        return Verdict.FAILED
    return Verdict.WAITS if moment < ends_at else Verdict.STANDS


def ends_counted(container: Container) -> int:
    """Return how often a container has ended by itself, according to the engine.

    The engine counts a restart as soon as it decides to restart the container. So a container with
    `restart: always` that is seen exited was stopped with the engine, or by a person.
    """
    is_restarted = container.restart == Restart.ALWAYS
    return container.restarts + (container.state is ContainerState.EXITED and not is_restarted)


def is_over_for_good(container: Container, restart: Restart) -> bool:
    """Whether a container has ended and the engine will not restart it."""
    if container.state is not ContainerState.EXITED or restart is Restart.ALWAYS:
        return False
    return restart is Restart.NEVER or container.exit_code == 0


def in_words(container: Container, ends: int) -> str:
    """Describe what happened to a container during its trial."""
    times = "ended" if ends <= 1 else f"ended {ends} times"
    how = "" if container.state is ContainerState.RUNNING else f": it {container}"
    return f"its container {times} within {TRIAL.total_seconds():.0f} s of going live{how}"


def forget_needless_fallbacks(runtime: Runtime[WorkerSettings]) -> None:
    """Forget the stopped fallback containers that neither a trial nor a recovery needs."""
    kept = select(App).where(
        col(App.trial_ends_at).is_(None),
        col(App.fallback_container_id).is_not(None),
        col(App.warm_until).is_(None),
    )
    with runtime.database.reading() as session:
        if session.exec(kept.limit(1)).first() is None:
            return
    with runtime.database.writing() as session:
        for app in session.exec(kept).all():
            if not has_open_recovery(session, app):
                forget_fallback(app)


def _has_news(seen: App, container: Container) -> bool:
    if seen.trial_ends_at is not None and now() >= seen.trial_ends_at:
        return True
    return ends_counted(container) != seen.live_restarts or seen.live_ends > FORGIVEN_ENDS


def _on_trial(session: Session, seen: App, container: Container) -> App | None:
    """Read the app again; None when another release is live by now, or the trial is over."""
    app = session.get(App, seen.id)
    is_same = app is not None and app.live_container_id == container.id
    return app if app is not None and is_same and app.trial_ends_at is not None else None


def _restart_of(session: Session, app: App) -> Restart:
    release = session.get_one(Release, app.live_release_id)
    return release.container.restart


def _withdraw(
    runtime: Runtime[WorkerSettings], tools: Tools, seen: App, container: Container
) -> None:
    """Withdraw the release, and write its container's last output to its deployment's log."""
    lines = tools.engine.output(container.id, tail=LINES_SHOWN)
    told = _write_output(runtime, seen, lines)
    with runtime.database.writing() as session:
        app = _on_trial(session, seen, container)
        if app is None:
            return
        recovery = go_back(session, app, in_words(container, app.live_ends), told)
        woken = [] if recovery is None else [recovery.id or 0]
    logger.warning(
        "deployment %s of %s is withdrawn: it did not stay up",
        seen.live_deployment_id,
        seen.name,
        extra={"action": "deployment_withdrawn", "deployment": seen.live_deployment_id},
    )
    runtime.queue.wake(woken, Lane.QUICK)


def _write_output(runtime: Runtime[WorkerSettings], seen: App, lines: Sequence[OutputLine]) -> str:
    """Write a container's last output to its deployment's log; return how to quote its cause.

    A log that cannot be written, or a key that does not fit, does not prevent the recovery.
    """
    try:
        with runtime.database.reading() as session:
            release = session.get_one(Release, seen.live_release_id)
            variables = open_environment(release.environment, runtime.vault)
        redact = Redactor(secrets_of(variables.values()))
        path = log_path(runtime.settings.logs_dir, seen.live_deployment_id or 0)
        log = DeploymentLog(path, redact)
    except KeystoneError as exc:
        logger.warning("%s", exc, extra={"action": "output_not_kept"})
        return ""
    try:
        return write_output(log, StepName.SWITCH, lines).told
    finally:
        log.close()
