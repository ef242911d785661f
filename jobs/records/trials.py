"""The trial of a live release, as an app's row keeps it.

For its first minute a live release is on trial: its container may end once. Until the trial is over
the release that served before is kept to go back to, with its container stopped and ready to start.
"""

from datetime import timedelta

from jobs.storage.models import App, now

TRIAL = timedelta(seconds=60)
FORGIVEN_ENDS = 1


def begin_trial(app: App, release_id: int, *, was_withdrawn: bool) -> None:
    """Keep what serves as the way back, and begin the trial of the release that takes its place.

    To be called before the app's live release and container are written. One that has ended in its
    own trial is no way back: then the one before it stays.

    Args:
        release_id: the new release.
        was_withdrawn: whether what serves now has failed its trial.
    """
    is_proven = app.trial_ends_at is None and not was_withdrawn
    has_not_ended = app.live_ends == 0 and not was_withdrawn
    if is_proven or has_not_ended:
        app.fallback_release_id = app.live_release_id
        app.fallback_container_id = app.live_container_id
    if app.fallback_release_id == release_id:
        forget_fallback(app)
    app.trial_ends_at = now() + TRIAL
    app.live_ends = app.live_restarts = 0


def end_trial(app: App) -> None:
    """Let the live release stand for good; what served before it is not needed any more."""
    app.trial_ends_at = None
    forget_fallback(app)


def forget_fallback(app: App) -> None:
    """Keep nothing to go back to; the watcher removes the container."""
    app.fallback_release_id = app.fallback_container_id = None


def count_ends(app: App, counted: int) -> int:
    """Add the ends of an app's live container since the last look; give how many there are.

    Args:
        counted: how many the engine knows of. It counts anew when it was restarted itself, and when
            it was told to start a container.
    """
    is_counted_anew = counted < app.live_restarts
    app.live_ends += counted if is_counted_anew else counted - app.live_restarts
    app.live_restarts = counted
    return app.live_ends
