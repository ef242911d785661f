"""/api/deliveries and /api/audit: what GitHub sent, and who did what."""

from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.deliveries import DeliveryFilter, delivery_page, refused_deliveries
from jobs.reads.views import AuditEventView, DeliveryView, Page, RefusedDeliveryView
from jobs.states import Role
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import AuditQuery, DeliveryQuery

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/deliveries", needs=Role.VIEWER)
def list_deliveries(call: Call[DeliveryQuery]) -> Page[DeliveryView]:
    """List what GitHub sent and what came of it, newest first."""
    with call.reading() as session:
        return delivery_page(session, DeliveryFilter(**call.given.model_dump()))


@ENDPOINTS.add("GET", "/api/deliveries/refused", needs=Role.VIEWER)
def list_refused_deliveries(call: Call[Nothing]) -> Page[RefusedDeliveryView]:
    """List what was sent to the webhook and refused, those that are alike together.

    Deliveries in the name of a configured repository come first. Nothing here is proven: anybody
    may send a delivery, in anybody's name. It takes up to 5 seconds until one is on the list.
    """
    with call.reading() as session:
        return refused_deliveries(session)


@ENDPOINTS.add("GET", "/api/audit", needs=Role.ADMIN)
def list_audit_events(call: Call[AuditQuery]) -> Page[AuditEventView]:
    """List who did what to which thing, newest first.

    Events are only ever added: the database refuses to change or remove one.
    """
    with call.reading() as session:
        return audit_page(session, AuditFilter(**call.given.model_dump()))
