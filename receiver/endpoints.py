"""All endpoints that are not pages, in one list; each module declares its own at the handlers."""

from receiver import sessions, webhooks
from receiver.api import (
    account,
    apps,
    certificates,
    containers,
    deployments,
    docs,
    environment,
    events,
    health,
    history,
    hooks,
    logs,
    metrics,
    releases,
    repositories,
    tokens,
    users,
)
from receiver.routing import Endpoint

# The API's documentation shows them in this order.
ENDPOINTS: tuple[Endpoint, ...] = (
    *webhooks.ENDPOINTS,
    *health.ENDPOINTS,
    *metrics.ENDPOINTS,
    *apps.ENDPOINTS,
    *hooks.ENDPOINTS,
    *environment.ENDPOINTS,
    *containers.ENDPOINTS,
    *releases.ENDPOINTS,
    *deployments.ENDPOINTS,
    *logs.ENDPOINTS,
    *events.ENDPOINTS,
    *certificates.ENDPOINTS,
    *repositories.ENDPOINTS,
    *history.ENDPOINTS,
    *sessions.ENDPOINTS,
    *account.ENDPOINTS,
    *users.ENDPOINTS,
    *tokens.ENDPOINTS,
    *docs.ENDPOINTS,
)
# The dashboard answers the other methods of these addresses.
SHARED_WITH_PAGES = ("/login",)
