"""The page of deliveries: what GitHub sent, the answers, and the resulting deployments."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from dashboard import filters, labels, page_reads, rendering
from dashboard.commits import repository_address
from jobs.reads import apps
from jobs.reads.deliveries import DeliveryFilter, delivery_page, refused_deliveries
from jobs.reads.paging import SEARCH_DEPTH
from jobs.reads.repositories import search_health
from jobs.states import DeliveryOutcome

PAGE = 50
FILTERS = ("repository", "outcome", "event", "text")


def show(request: Request) -> Response:
    """Show the deliveries, newest first, filtered by the fields of `FILTERS`."""
    settings, before = rendering.settings_of(request), rendering.cursor_of(request)
    wanted = filters.filters_of(request, FILTERS)
    with rendering.database_of(request).reading() as session:
        page = delivery_page(session, _filter(wanted, before))
        names = page_reads.deployment_names(
            session, {found for row in page.items for found in row.deployments}
        )
        repositories = page_reads.repository_names(session)
        git_url = page_reads.git_url(session, wanted["repository"])
        search = search_health(session, every_minutes=settings.catch_up_minutes)
        refused = refused_deliveries(session).items
    return rendering.render(
        request,
        "deliveries.html",
        title="Deliveries",
        page=page,
        before=before,
        names=names,
        wanted=wanted,
        query=filters.query_of(wanted),
        repositories=repositories,
        outcomes=[(outcome, look.word) for outcome, look in labels.DELIVERY_LOOKS.items()],
        search_depth=SEARCH_DEPTH,
        repository_url=repository_address(git_url, settings.github_api_url),
        webhook_url=apps.webhook_url(settings),
        webhook_problem=apps.webhook_problem(settings),
        search=search,
        refused=refused,
    )


def _filter(wanted: Mapping[str, str], before: int | None) -> DeliveryFilter:
    return DeliveryFilter(
        repository=wanted["repository"] or None,
        outcome=filters.word_of(DeliveryOutcome, wanted["outcome"]),
        event=wanted["event"] or None,
        text=wanted["text"] or None,
        limit=PAGE,
        before=before,
    )
