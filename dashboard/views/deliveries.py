"""What GitHub sent, what was answered and why, and which deployments came of it."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard import pages, reads
from jobs import queries

PAGE = 50


def show(request: Request) -> Response:
    """Show the deliveries, newest first."""
    before = pages.cursor_of(request)
    with pages.database_of(request).reading() as session:
        page = queries.delivery_page(session, limit=PAGE, before=before)
        names = reads.deployment_names(
            session, {found for row in page.items for found in row.deployments}
        )
    return pages.render(
        request,
        "deliveries.html",
        title="Deliveries",
        page=page,
        before=before,
        names=names,
        webhook_url=queries.webhook_url(pages.settings_of(request)),
    )
