"""Who did what to which thing, when, and from where. For admins."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from dashboard import pages, reads
from jobs import queries
from jobs.views import AuditEventView

PAGE = 50
LONGEST_FILTER = 200
LONGEST_DETAIL = 200
APP, DEPLOYMENT = "app", "deployment"


@dataclass(frozen=True)
class Entry:
    """An audit event as the page shows it."""

    event: AuditEventView
    thing: str
    href: str  # empty: the thing is gone, or has no page
    details: str


def show(request: Request) -> Response:
    """Show the audit events, newest first; `?tag=` and `?actor=` narrow them down."""
    before = pages.cursor_of(request)
    wanted = {name: _filter(request, name) for name in ("tag", "actor")}
    with pages.database_of(request).reading() as session:
        page = queries.audit_page(
            session,
            limit=PAGE,
            before=before,
            actor=wanted["actor"] or None,
            tag=wanted["tag"] or None,
        )
        entries = _entries(session, page.items)
    return pages.render(
        request,
        "audit.html",
        title="Audit",
        entries=entries,
        wanted=wanted,
        query=urlencode({name: value for name, value in wanted.items() if value}),
        before=before,
        next=page.next,
    )


def _filter(request: Request, name: str) -> str:
    return request.query_params.get(name, "").strip()[:LONGEST_FILTER]


def _entries(session: Session, events: Sequence[AuditEventView]) -> list[Entry]:
    targets = [event.target.partition(":") for event in events]
    ids = {int(key) for kind, _, key in targets if kind == DEPLOYMENT and pages.is_id(key)}
    names = reads.deployment_names(session, ids)
    apps = reads.existing_apps(session, {key for kind, _, key in targets if kind == APP})
    return [_entry(event, names, apps) for event in events]


def _entry(event: AuditEventView, names: dict[int, reads.Name], apps: set[str]) -> Entry:
    thing, href = event.target, ""
    kind, _, key = event.target.partition(":")
    if kind == APP and key in apps:
        thing, href = key, f"/apps/{key}"
    elif kind == DEPLOYMENT and pages.is_id(key) and (name := names.get(int(key))):
        thing, href = f"{name.app} #{name.number}", f"/deployments/{key}"
    return Entry(event, thing, href, details_of(event))


def details_of(event: AuditEventView) -> str:
    """Say an event's details in one line: `ref main, trigger manual`."""
    return ", ".join(
        f"{name} {_plain(value)[:LONGEST_DETAIL]}"
        for name, value in sorted(event.details.items())
        if value not in ("", None, [], {})
    )


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
