"""The audit trail, for admins: who did what to which thing, when, and from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import filters, page_reads, rendering
from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.views import AuditEventView
from jobs.rules.text import shown_name

PAGE = 50
FILTERS = ("tag", "actor", "target", "since", "until")
LONGEST_DETAIL = 200
APP, DEPLOYMENT = "app", "deployment"


@dataclass(frozen=True)
class Entry:
    """An audit event as the page shows it."""

    event: AuditEventView
    thing: str
    href: str  # empty: the thing was removed, or has no page
    details: str


def show(request: Request) -> Response:
    """Show the audit events, newest first, filtered by the fields of `FILTERS`."""
    before, wanted = rendering.cursor_of(request), filters.filters_of(request, FILTERS)
    with rendering.database_of(request).reading() as session:
        page = audit_page(session, _filter(wanted, before))
        entries = _entries(session, page.items)
    return rendering.render(
        request,
        "audit.html",
        title="Audit",
        entries=entries,
        wanted=wanted,
        query=filters.query_of(wanted),
        before=before,
        next=page.next,
    )


def _filter(wanted: Mapping[str, str], before: int | None) -> AuditFilter:
    until = filters.day_of(wanted["until"])
    return AuditFilter(
        actor=wanted["actor"] or None,
        tag=wanted["tag"] or None,
        target=wanted["target"] or None,
        since=filters.day_of(wanted["since"]),
        # The range includes the day in `until`.
        until=until + timedelta(days=1) if until else None,
        limit=PAGE,
        before=before,
    )


def _entries(session: Session, events: Sequence[AuditEventView]) -> list[Entry]:
    targets = [event.target.partition(":") for event in events]
    ids = {int(key) for kind, _, key in targets if kind == DEPLOYMENT and rendering.is_id(key)}
    names = page_reads.deployment_names(session, ids)
    apps = page_reads.existing_apps(session, {key for kind, _, key in targets if kind == APP})
    return [_entry(event, names, apps) for event in events]


def _entry(event: AuditEventView, names: dict[int, page_reads.Name], apps: set[str]) -> Entry:
    thing, href = event.target, ""
    kind, _, key = event.target.partition(":")
    if kind == APP and key in apps:
        thing, href = key, f"/apps/{key}"
    elif kind == DEPLOYMENT and rendering.is_id(key) and (name := names.get(int(key))):
        thing, href = f"{name.app} #{name.number}", f"/deployments/{key}"
    return Entry(event, thing, href, details_of(event))


def details_of(event: AuditEventView) -> str:
    """Give an event's details in one line: `ref main, trigger manual`."""
    return ", ".join(
        f"{name} {shown_name(_plain(value))[:LONGEST_DETAIL]}"
        for name, value in sorted(event.details.items())
        if value not in ("", None, [], {})
    )


def _plain(value: object) -> str:
    match value:
        case None:
            return "none"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{name}: {_plain(held)}" for name, held in value.items())
        case _:
            return str(value)
