"""The warm container of an app, as stored in the app's row.

A replaced release may ask to stay warm (`warm_minutes`): its container keeps running beside the new
one. The router asks it for old assets, and a rollback to its release needs no start. It is the
app's fallback (`jobs.records.trials`), which otherwise is stopped; so an app has one at most.
"""

from datetime import timedelta

from sqlmodel import Session

from jobs.storage.models import App, Release, now


def keep_warm(session: Session, app: App) -> None:
    """Keep the live container warm if it has become the fallback and its release asks for that.

    Call this after `begin_trial`, and before writing the app's new live container. Any container
    that was warm before is not any more: the new release takes its slot in the router.
    """
    app.warm_until = app.warm_address = None
    if app.fallback_container_id is None or app.fallback_container_id != app.live_container_id:
        return
    release = session.get(Release, app.fallback_release_id)
    if release is not None and release.container.warm_minutes:
        app.warm_until = now() + timedelta(minutes=release.container.warm_minutes)
        app.warm_address = app.live_address


def end_warmth(app: App) -> None:
    """Keep the container warm no longer; it stays the fallback, stopped, while one is needed."""
    app.warm_until = app.warm_address = None
