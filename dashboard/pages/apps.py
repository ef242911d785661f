"""The page of one app: its state, its releases, its history and its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import app_facts, filters, labels, page_reads, rendering
from dashboard.pages.overview import history_chart
from dashboard.trends import trends
from jobs.reads import apps, deployments
from jobs.reads.deliveries import DeliveryFilter, delivery_page
from jobs.reads.paging import SEARCH_DEPTH
from jobs.reads.releases import live_settings, release_views
from jobs.reads.views import AppView, ReleaseView
from jobs.states import DeploymentState, Trigger
from jobs.storage.models import App, Deployment, now

PAGE = 20
RECENT_DELIVERIES = 5
FEWEST_RELEASES = 5
CHART_HEIGHT = 56
FILTERS = ("state", "trigger", "author", "text")


@dataclass(frozen=True)
class History:
    """A page of an app's deployments, with its filters."""

    rows: Sequence[tuple[Deployment, float | None]]  # each with its duration in seconds
    before: int | None
    next: int | None
    wanted: Mapping[str, str]

    @property
    def query(self) -> str:
        """The address's query without the cursor."""
        return filters.query_of(self.wanted)

    @property
    def is_cut(self) -> bool:
        """Whether the search stopped before the page was full and before the list's end."""
        return self.next is not None and len(self.rows) < PAGE


def show(request: Request) -> Response:
    """Show the app of the address; the fields of `FILTERS` filter its history.

    Raises:
        NotFoundError: there is no app of that name.
    """
    name = request.path_params["app"]
    with rendering.database_of(request).reading() as session:
        row = apps.find_app(session, name)
        app = apps.view_of(session, row, rendering.settings_of(request))
        values: dict[str, Any] = {
            **_standing(session, row),
            **_releases(session, row, app),
            "history": _history(session, app, request),
            "deliveries": _deliveries(session, app),
            "variables": page_reads.variable_names(session, app.id),
            "domains": page_reads.served_domains(session, app),
        }
    look = labels.APP_LOOKS[app.state]
    return rendering.render(
        request,
        "app.html",
        title=f"{app.name}: {look.word.lower()}",
        tone=look.tone,
        app=app,
        look=look,
        facts=app_facts.facts(app),
        states=[(state, found.word) for state, found in labels.DEPLOYMENT_LOOKS.items()],
        triggers=list(labels.TRIGGER_WORDS.items()),
        search_depth=SEARCH_DEPTH,
        **values,
    )


def _standing(session: Session, row: App) -> Mapping[str, object]:
    app_id = row.id or 0
    past = page_reads.recent_deployments(session, [app_id], most=page_reads.PAST).get(app_id, [])
    return {
        "live": page_reads.live_commits(session, [app_id]).get(app_id),
        "work": page_reads.work_now(session, [app_id]).get(app_id),
        "chart": history_chart(past[-page_reads.RECENT :], height=CHART_HEIGHT, app=row.name),
        "trends": trends(past, now()),
        "last_number": row.last_deployment,
        "live_memory_mb": live_settings(session, row).memory_mb,
        "container": labels.container_look(row.container_state, row.container_reason),
        "container_state": row.container_state or "",
        "container_reason": apps.container_trouble(row),
    }


def _releases(session: Session, row: App, app: AppView) -> Mapping[str, object]:
    # One more than the kept releases, so that the list shows a release that is not kept any more.
    limit = max(row.push_rules.keep_releases, FEWEST_RELEASES) + 1
    releases = release_views(session, row, limit=limit)
    return {"releases": releases, "earlier": earlier_release(releases, app.live_release)}


def earlier_release(releases: Sequence[ReleaseView], live: int | None) -> ReleaseView | None:
    """Give the default release of a rollback: the last restorable one before the live one."""
    earlier = (row for row in releases if live is None or row.number < live)
    return next((row for row in earlier if row.is_restorable), None)


def _history(session: Session, app: AppView, request: Request) -> History:
    given, before = filters.filters_of(request, FILTERS), rendering.cursor_of(request)
    wanted = deployments.DeploymentFilter(
        app=app.name,
        state=filters.word_of(DeploymentState, given["state"]),
        trigger=filters.word_of(Trigger, given["trigger"]),
        author=given["author"] or None,
        text=given["text"] or None,
        limit=PAGE,
        before=before,
    )
    rows, following = deployments.deployment_rows(session, wanted)
    timed = [(row, deployments.duration_s(row.started_at, row.ended_at)) for row in rows]
    return History(timed, before, following, given)


def _deliveries(session: Session, app: AppView) -> Sequence[object]:
    wanted = DeliveryFilter(repository=app.repository, limit=RECENT_DELIVERIES)
    return delivery_page(session, wanted).items
