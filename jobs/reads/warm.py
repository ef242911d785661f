"""SELECTs about warm containers, which `jobs.records.warm` describes."""

from datetime import datetime

from sqlmodel import Session, col, select

from jobs.rules.container_values import Warm
from jobs.storage.models import App, Release, now


def warm_apps(session: Session) -> list[App]:
    """List the apps with a warm container."""
    return list(session.exec(select(App).where(col(App.warm_until).is_not(None))).all())


def warm_number(session: Session, app: App) -> int | None:
    """Give the number of an app's warm release; None if there is none."""
    release = session.get(Release, app.fallback_release_id) if is_warm(app) else None
    return release.number if release is not None else None


def is_warm(app: App) -> bool:
    """Whether an app's fallback container is kept warm."""
    return app.warm_until is not None and app.fallback_container_id is not None


def is_due(app: App, at: datetime) -> bool:
    """Whether the time of an app's warm container is over."""
    return app.warm_until is not None and app.warm_until <= at


def warm_route(session: Session, app: App) -> Warm | None:
    """Return what the router must know of an app's warm container; None without old assets."""
    if not is_warm(app) or is_due(app, now()):
        return None
    if app.warm_address is None or app.live_slot is None:
        return None
    release = session.get(Release, app.fallback_release_id)
    if release is None or not release.container.asset_paths:
        return None
    paths = frozenset(release.container.asset_paths)
    return Warm(app.host_port, app.live_slot, app.warm_address, paths)


def warm_routes(session: Session) -> dict[int, Warm]:
    """Return what the router must know of all warm containers, by port."""
    found = (warm_route(session, app) for app in warm_apps(session))
    return {warm.port: warm for warm in found if warm is not None}
