"""/api/deliveries and /api/audit: what GitHub sent, and who did what."""

from jobs.queries import audit_page, delivery_page
from jobs.views import AuditEventView, DeliveryView, Page
from receiver.routing import Call
from receiver.schemas import PageQuery


def list_deliveries(call: Call[PageQuery]) -> Page[DeliveryView]:
    """List what GitHub sent and what came of it, newest first."""
    with call.reading() as session:
        return delivery_page(session, limit=call.given.limit, before=call.given.before)


def list_audit_events(call: Call[PageQuery]) -> Page[AuditEventView]:
    """List who did what to which thing, newest first."""
    with call.reading() as session:
        return audit_page(session, limit=call.given.limit, before=call.given.before)
