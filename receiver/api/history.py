"""/api/deliveries and /api/audit: the deliveries from GitHub, and the audit trail."""

from jobs.reads.audit import AuditFilter, audit_page
from jobs.reads.deliveries import DeliveryFilter, delivery_page, refused_deliveries
from jobs.reads.views import AuditEventView, DeliveryView, Page, RefusedDeliveryView
from jobs.states import Role
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import AuditQuery, DeliveryQuery

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/deliveries", needs=Role.VIEWER)
def list_deliveries(call: Call[DeliveryQuery]) -> Page[DeliveryView]:
    """List the deliveries from GitHub and their outcomes, newest first."""
    with call.reading() as session:
        return delivery_page(session, DeliveryFilter(**call.given.model_dump()))


@ENDPOINTS.add("GET", "/api/deliveries/refused", needs=Role.VIEWER)
def list_refused_deliveries(call: Call[Nothing]) -> Page[RefusedDeliveryView]:
    """List the refused deliveries; similar ones are counted together.

    Deliveries that name a configured repository come first. Nothing here is verified: anybody can
    send a delivery in the name of any repository. A delivery appears here after up to 5 seconds.
    """
    with call.reading() as session:
        return refused_deliveries(session)


@ENDPOINTS.add("GET", "/api/audit", needs=Role.ADMIN)
def list_audit_events(call: Call[AuditQuery]) -> Page[AuditEventView]:
    """List who did what to which thing, newest first.

    Events are only added: the database refuses to change or remove one.
    """
    with call.reading() as session:
        return audit_page(session, AuditFilter(**call.given.model_dump()))
