"""/api/deliveries and /api/audit: what GitHub sent, and who did what."""

from jobs.audit_trail import AuditFilter, audit_page
from jobs.deliveries import DeliveryFilter, delivery_page
from jobs.views import AuditEventView, DeliveryView, Page
from receiver.routing import Call
from receiver.schemas import AuditQuery, DeliveryQuery


def list_deliveries(call: Call[DeliveryQuery]) -> Page[DeliveryView]:
    """List what GitHub sent and what came of it, newest first."""
    with call.reading() as session:
        return delivery_page(session, DeliveryFilter(**call.given.model_dump()))


def list_audit_events(call: Call[AuditQuery]) -> Page[AuditEventView]:
    """List who did what to which thing, newest first.

    Events are only ever added: the database refuses to change or remove one.
    """
    with call.reading() as session:
        return audit_page(session, AuditFilter(**call.given.model_dump()))
