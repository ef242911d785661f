"""SELECTs about releases: those that were live, those kept for a rollback, and unneeded images.

Only releases that were live count. A release whose container never became healthy cannot be rolled
back to, and its image is not kept.
"""

from collections.abc import Mapping

from sqlmodel import Session, col, select

from jobs.reads.views import ReleaseView
from jobs.rules.app_settings import ContainerSettings
from jobs.rules.naming import DEPLOYMENT_ID, DEPLOYMENT_LABEL, shown_tag
from jobs.states import DeploymentState
from jobs.storage.models import App, Deployment, Release

# The number of releases beyond the kept ones whose images are checked; older images are already
# removed.
PAST_KEEP = 200


def releases_that_were_live(session: Session, app: App, *, limit: int) -> list[Release]:
    """List an app's releases whose deployment succeeded, newest first."""
    statement = (
        select(Release)
        .join(Deployment, col(Deployment.id) == Release.deployment_id)
        .where(Release.app_id == app.id, Deployment.state == DeploymentState.SUCCESS)
        .order_by(col(Release.number).desc())
        .limit(limit)
    )
    return list(session.exec(statement).all())


def restorable_releases(session: Session, app: App) -> list[Release]:
    """List the releases kept for a rollback, and the live one, newest first."""
    kept = releases_that_were_live(session, app, limit=app.push_rules.keep_releases)
    live = session.get(Release, app.live_release_id) if app.live_release_id else None
    if live is None or live.id in {row.id for row in kept}:
        return kept
    return sorted([*kept, live], key=lambda row: row.number, reverse=True)


def needed_releases(session: Session, app: App) -> list[Release]:
    """List the releases whose images must stay: the kept ones and the automatic fallback."""
    needed = restorable_releases(session, app)
    ids = {app.fallback_release_id} - {None, *(row.id for row in needed)}
    return [*needed, *(session.get_one(Release, each) for each in ids)]


def settings_made_with(session: Session, app: App, labels: Mapping[str, str]) -> ContainerSettings:
    """Give the settings that a container was made with, by its labels."""
    number = labels.get(DEPLOYMENT_LABEL, "")
    deployment = session.get(Deployment, int(number)) if DEPLOYMENT_ID.fullmatch(number) else None
    return settings_of_deployment(session, app, deployment)


def live_settings(session: Session, app: App) -> ContainerSettings:
    """Give the settings of an app's live container; the app's own settings if none is live."""
    return _settings_of(session, app, app.live_release_id)


def settings_of_deployment(
    session: Session, app: App, deployment: Deployment | None
) -> ContainerSettings:
    """Give the settings of the release that a deployment made or started again.

    The app's own settings may have changed since. They are used if the deployment has no release.
    """
    is_apps = deployment is not None and deployment.app_id == app.id
    return _settings_of(session, app, deployment.release_id if deployment and is_apps else None)


def _settings_of(session: Session, app: App, release_id: int | None) -> ContainerSettings:
    release = session.get(Release, release_id) if release_id is not None else None
    return release.container if release else app.container


def outdated_images(session: Session, app_id: int) -> list[str]:
    """List the image tags of an app that no kept release needs."""
    app = session.get_one(App, app_id)
    needed = {row.image for row in needed_releases(session, app)}
    statement = (
        select(Release)
        .where(Release.app_id == app_id)
        .order_by(col(Release.number).desc())
        .limit(app.push_rules.keep_releases + PAST_KEEP)
    )
    return sorted({row.image for row in session.exec(statement).all()} - needed)


def release_views(session: Session, app: App, *, limit: int = 20) -> list[ReleaseView]:
    """Describe the newest releases of an app that were live."""
    restorable = {row.id for row in restorable_releases(session, app)}
    rows = releases_that_were_live(session, app, limit=limit)
    makers = {
        row.id: row
        for row in session.exec(
            select(Deployment).where(col(Deployment.id).in_([row.deployment_id for row in rows]))
        ).all()
    }
    return [
        ReleaseView(
            id=row.id or 0,
            number=row.number,
            commit_sha=row.commit_sha,
            commit_message=makers[row.deployment_id].commit_message,
            image=shown_tag(row.image),
            deployment=row.deployment_id,
            created_at=row.created_at,
            is_live=row.id == app.live_release_id,
            is_restorable=row.id in restorable and row.id != app.live_release_id,
        )
        for row in rows
    ]
