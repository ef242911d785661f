"""The overview: problems that need a person, running deployments, and the state of every app.

With hundreds of apps the cards are paged, so that the page stays within 60 KB uncompressed. It is
not compressed because it contains the visitor's CSRF token beside text from the address: the
compressed length would reveal the token (BREACH).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import attention, charts, labels, overview_reads, page_reads, rendering
from dashboard.attention import Concern, Trouble
from dashboard.overview_reads import Standing
from jobs.reads.apps import app_views, webhook_problem, webhook_url
from jobs.reads.dashboard_name import name_advice
from jobs.reads.views import AppView
from jobs.reads.waiting import is_silent, next_up
from jobs.rules.token_trouble import WARN_BEFORE
from jobs.settings import Settings
from jobs.states import AppState
from jobs.storage.models import now

PAGE = 20
MOST_CONCERNS = 6
MOST_RUNNING = 6
MOST_WAITING = 6
CHART_HEIGHT = 34
LONGEST_FILTER = 100
# Refused deliveries older than this are no longer a current problem.
REFUSED_FOR = timedelta(days=7)
TOLD_BY_TITLE = (AppState.FAILING, AppState.STOPPED, AppState.DEPLOYING)
ATTENTION = "attention"  # a filter beside the states: apps with problems that need a person


@dataclass(frozen=True)
class Card:
    """One app as the overview shows it."""

    app: AppView
    look: labels.Look
    live: page_reads.LiveCommit | None
    work: page_reads.WorkNow | None
    chart: Markup


@dataclass(frozen=True)
class Wanted:
    """The filters of the overview."""

    text: str
    state: str  # one of AppState, or ATTENTION, or empty: any
    after: str  # the cursor: the name of the last app already shown

    @property
    def query(self) -> str:
        """The address's query without the cursor."""
        chosen = {"q": self.text, "state": self.state}
        return urlencode({name: value for name, value in chosen.items() if value})


def show(request: Request) -> Response:
    """Show the apps; `?q=` and `?state=` filter them, `?after=` gives the next page."""
    settings, wanted = rendering.settings_of(request), wanted_of(request)
    with rendering.database_of(request).reading() as session:
        apps = overview_reads.standings(session)
        machine = overview_reads.machine(session)
        concerns = _concerns(session, apps, machine, settings)
        matching = narrow(apps, wanted, {concern.app for concern in concerns})
        shown = [app for app in matching if app.name > wanted.after][:PAGE]
        cards = _cards(session, shown, settings)
        running = page_reads.running_now(session, limit=MOST_RUNNING)
        waiting = next_up(session, limit=MOST_WAITING) if machine.queue.length else []
    # Show all concerns with the filter ATTENTION: its cards leave out concerns without an app.
    most = len(concerns) if wanted.state == ATTENTION else MOST_CONCERNS
    values: dict[str, Any] = _machine(machine)
    return rendering.render(
        request,
        "overview.html",
        title=title_of(apps),
        tone=_tone(apps),
        total=len(apps),
        counts=_counts(apps),
        cards=cards,
        wanted=wanted,
        done=rendering.done_words(request),
        following=shown[-1].name if shown and shown[-1] is not matching[-1] else "",
        concerns=concerns,
        most_concerns=most,
        running=running,
        waiting=waiting,
        **values,
        webhook_url=webhook_url(settings),
        webhook_problem=webhook_problem(settings),
    )


def wanted_of(request: Request) -> Wanted:
    """Read the filters from the address, and ignore invalid ones."""
    given = {
        name: request.query_params.get(name, "").strip()[:LONGEST_FILTER]
        for name in ("q", "state", "after")
    }
    is_known = given["state"] in {ATTENTION, *AppState}
    return Wanted(given["q"].lower(), given["state"] if is_known else "", given["after"])


def narrow(apps: Sequence[Standing], wanted: Wanted, wanting: set[str]) -> list[Standing]:
    """Give the matching apps; `wanting` has the names of apps with problems that need a person."""
    return [
        app
        for app in apps
        if wanted.text in app.name
        and (wanted.state in {"", app.state} or (wanted.state == ATTENTION and app.name in wanting))
    ]


def _concerns(
    session: Session, apps: Sequence[Standing], machine: overview_reads.Machine, settings: Settings
) -> list[Concern]:
    at = now()
    tokens = overview_reads.token_troubles(session, before=at + WARN_BEFORE)
    doubtful = overview_reads.identity_troubles(session)
    page = "/repositories" if settings.settings_pages else ""
    unused = overview_reads.unused_repositories(session, page)
    missed = overview_reads.missed_pushes(session, every_minutes=settings.catch_up_minutes)
    refused = overview_reads.refused_pushes(session, since=at - REFUSED_FOR)
    advice = [overview_reads.NameAdvice(words)] if (words := name_advice(session, settings)) else []
    troubles: list[Trouble] = [*tokens, *doubtful, *refused, *missed, *unused, *advice]
    return attention.concerns(apps, troubles, machine, at)


def _machine(machine: overview_reads.Machine) -> dict[str, object]:
    vitals, at = machine.vitals, now()
    return {
        "queue": machine.queue,
        "busy": machine.busy,
        "vitals": None if vitals is None or is_silent(vitals, at) else vitals,
        "disk_free": attention.least_free(vitals) if vitals else 0,
    }


def _cards(session: Session, shown: Sequence[Standing], settings: Settings) -> list[Card]:
    ids = [app.id for app in shown]
    apps = app_views(session, settings, [app.name for app in shown])
    live = page_reads.live_commits(session, ids)
    work = page_reads.work_now(session, ids)
    recent = page_reads.recent_deployments(session, ids)
    return [
        Card(
            app,
            labels.APP_LOOKS[app.state],
            live.get(app.id),
            work.get(app.id),
            history_chart(recent.get(app.id, []), height=CHART_HEIGHT),
        )
        for app in apps
    ]


def history_chart(
    recent: Sequence[page_reads.Recent], *, height: int, app: str | None = None
) -> Markup:
    """Draw an app's last deployments; with the app's name each bar links to its deployment."""
    looks = [labels.DEPLOYMENT_LOOKS[row.state] for row in recent]
    bars = [
        charts.Bar(
            look.tone,
            look.shape,
            row.seconds,
            title=f"#{row.number}: {look.word}, {labels.duration(row.seconds)}",
            href=f"/deployments/{row.id}" if app else "",
        )
        for row, look in zip(recent, looks, strict=True)
    ]
    words = Counter(look.word.lower() for look in looks)
    summary = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return charts.history(
        bars,
        slots=page_reads.RECENT,
        height=height,
        summary=f"Last deployments: {summary or 'none'}",
    )


def _counts(apps: Sequence[Standing]) -> list[tuple[AppState, labels.Look, int]]:
    found = Counter(app.state for app in apps)
    return [(state, labels.APP_LOOKS[state], found[state]) for state in AppState if found[state]]


def title_of(apps: Sequence[Standing]) -> str:
    """Give the title of the browser's tab: `2 failing, 1 deploying · Overview`."""
    found = Counter(app.state for app in apps)
    told = [
        f"{found[state]} {labels.APP_LOOKS[state].word.lower()}"
        for state in TOLD_BY_TITLE
        if found[state]
    ]
    return " · ".join(filter(None, (", ".join(told), "Overview")))


def _tone(apps: Sequence[Standing]) -> str:
    states = {app.state for app in apps}
    worst = next((state for state in (AppState.FAILING, AppState.STOPPED) if state in states), None)
    return labels.APP_LOOKS[worst].tone if worst else "home"
