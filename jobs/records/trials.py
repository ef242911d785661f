"""The trial of a live release, as stored in the app's row.

For its first minute a live release is on trial: its container may exit once. Until the trial is
over, the previous release is kept as the fallback, with its container stopped and ready to start.
It may be kept longer, and running: see `jobs.records.warm`.
"""

from datetime import timedelta

from jobs.storage.models import App, now

TRIAL = timedelta(seconds=60)
FORGIVEN_ENDS = 1


def begin_trial(app: App, release_id: int, *, was_withdrawn: bool, restarts: int = 0) -> None:
    """Keep the live release as the fallback, and begin the trial of the new release.

    Call this before writing the app's new live release and container. A live release whose
    container has exited during its own trial is no fallback: then the earlier fallback stays.

    Args:
        release_id: the new release.
        was_withdrawn: whether the release that is live now has failed its trial.
        restarts: the engine's restart count of the new container, which may have served before.
    """
    is_proven = app.trial_ends_at is None and not was_withdrawn
    has_not_ended = app.live_ends == 0 and not was_withdrawn
    if is_proven or has_not_ended:
        app.fallback_release_id = app.live_release_id
        app.fallback_container_id = app.live_container_id
    if app.fallback_release_id == release_id:
        forget_fallback(app)
    app.trial_ends_at = now() + TRIAL
    app.live_ends, app.live_restarts = 0, restarts


def end_trial(app: App) -> None:
    """End the trial; the fallback is not needed any more, unless it is kept warm."""
    app.trial_ends_at = None
    if app.warm_until is None:
        forget_fallback(app)


def forget_fallback(app: App) -> None:
    """Keep no fallback; the watcher removes its container."""
    app.fallback_release_id = app.fallback_container_id = None
    app.warm_until = app.warm_address = None


def count_ends(app: App, counted: int) -> int:
    """Add the exits of an app's live container since the last check; return the total.

    Args:
        counted: the engine's restart count. It restarts at 0 when the engine restarts, and when the
            engine is told to start the container.
    """
    is_counted_anew = counted < app.live_restarts
    app.live_ends += counted if is_counted_anew else counted - app.live_restarts
    app.live_restarts = counted
    return app.live_ends
