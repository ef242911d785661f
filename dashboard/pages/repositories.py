"""The list of all repositories, for admins, including those without an app."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard import rendering
from dashboard.forms import UNTOUCHED, Filled
from jobs.reads.repositories import repository_views


def show(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show each repository; one without an app can be removed here."""
    with rendering.database_of(request).reading() as session:
        found = repository_views(session)
    return rendering.render(
        request,
        "settings/repositories.html",
        title="Repositories",
        status=filled.status,
        filled=filled,
        done=rendering.done_words(request),
        repositories=found,
    )
