"""The first page: every app, how it stands, and what is being done for it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from dashboard import charts, labels, pages, reads
from jobs import queries
from jobs.states import AppState
from jobs.views import AppView

CHART_HEIGHT = 34
# The states that want a person, the worst first.
ATTENTION = (AppState.FAILING, AppState.STOPPED)


@dataclass(frozen=True)
class Card:
    """One app as the overview shows it."""

    app: AppView
    look: labels.Look
    live: reads.LiveCommit | None
    work: reads.Work | None
    chart: Markup


def show(request: Request) -> Response:
    """Show every app."""
    settings = pages.settings_of(request)
    with pages.database_of(request).reading() as session:
        apps = queries.app_views(session, settings)
        live = reads.live_commits(session)
        work = reads.work_now(session)
        recent = reads.recent_deployments(session)
    cards = [
        Card(
            app,
            labels.APP_LOOKS[app.state],
            live.get(app.id),
            work.get(app.id),
            history_chart(recent.get(app.id, []), height=CHART_HEIGHT),
        )
        for app in apps
    ]
    return pages.render(
        request,
        "overview.html",
        title="Overview",
        tone=_tone(apps),
        cards=cards,
        counts=_counts(apps),
        webhook_url=queries.webhook_url(settings),
    )


def history_chart(recent: Sequence[reads.Recent], *, height: int, app: str | None = None) -> Markup:
    """Draw an app's last deployments; with the app's name each bar leads to its deployment."""
    looks = [labels.DEPLOYMENT_LOOKS[row.state] for row in recent]
    bars = [
        charts.Bar(
            look.tone,
            row.seconds,
            title=f"#{row.number}: {look.word}, {labels.duration(row.seconds)}",
            href=f"/deployments/{row.id}" if app else "",
        )
        for row, look in zip(recent, looks, strict=True)
    ]
    words = Counter(look.word.lower() for look in looks)
    summary = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return charts.history(
        bars, slots=reads.RECENT, height=height, summary=f"Last deployments: {summary or 'none'}"
    )


def _counts(apps: Sequence[AppView]) -> list[tuple[labels.Look, int]]:
    found = Counter(app.state for app in apps)
    return [(labels.APP_LOOKS[state], found[state]) for state in AppState if found[state]]


def _tone(apps: Sequence[AppView]) -> str:
    states = {app.state for app in apps}
    worst = next((state for state in ATTENTION if state in states), None)
    return labels.APP_LOOKS[worst].tone if worst else "home"
