"""One app: how it stands, what it can go back to, its history, and how it is configured."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import labels, pages, reads, summary
from dashboard.views.overview import history_chart
from jobs import queries
from jobs.models import App
from jobs.releases import release_views
from jobs.views import AppView, ReleaseView

PAGE = 20
RECENT_DELIVERIES = 5
FEWEST_RELEASES = 5
CHART_HEIGHT = 56


def show(request: Request) -> Response:
    """Show the app of the address.

    Raises:
        NotFoundError: there is none of that name.
    """
    name, before = request.path_params["app"], pages.cursor_of(request)
    with pages.database_of(request).reading() as session:
        row = queries.find_app(session, name)
        app = queries.app_view(session, name, pages.settings_of(request))
        values: dict[str, Any] = {
            **_standing(session, row),
            **_releases(session, row, app),
            **_past(session, app, before),
            "variables": reads.variable_names(session, app.id),
        }
    look = labels.APP_LOOKS[app.state]
    return pages.render(
        request,
        "app.html",
        title=f"{app.name}: {look.word.lower()}",
        tone=look.tone,
        app=app,
        look=look,
        facts=summary.facts(app),
        before=before,
        **values,
    )


def _standing(session: Session, row: App) -> Mapping[str, object]:
    app_id = row.id or 0
    recent = reads.recent_deployments(session, app_id).get(app_id, [])
    return {
        "live": reads.live_commits(session).get(app_id),
        "work": reads.work_now(session).get(app_id),
        "chart": history_chart(recent, height=CHART_HEIGHT, app=row.name),
        "container": labels.container_look(row.container_state, row.container_reason),
        "container_state": row.container_state or "",
        "container_reason": row.container_reason,
    }


def _releases(session: Session, row: App, app: AppView) -> Mapping[str, object]:
    # One more than is kept, so that the end of the list shows what "kept" means.
    limit = max(row.keep_releases, FEWEST_RELEASES) + 1
    releases = release_views(session, row, limit=limit)
    return {"releases": releases, "earlier": earlier_release(releases, app.live_release)}


def earlier_release(releases: Sequence[ReleaseView], live: int | None) -> ReleaseView | None:
    """Give the release that a rollback goes to unless told otherwise: the one before the live."""
    earlier = (row for row in releases if live is None or row.number < live)
    return next((row for row in earlier if row.is_restorable), None)


def _past(session: Session, app: AppView, before: int | None) -> Mapping[str, object]:
    wanted = queries.DeploymentFilter(app=app.name, limit=PAGE, before=before)
    deliveries = queries.delivery_page(
        session, limit=RECENT_DELIVERIES, repository_id=app.repository_id
    )
    return {
        "history": queries.deployment_page(session, wanted),
        "deliveries": deliveries.items,
    }
