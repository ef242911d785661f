"""The form that adds an app, for admins: the few necessary fields first, the others folded."""

from starlette.requests import Request
from starlette.responses import Response

from dashboard import rendering
from dashboard.app_fields import FIRST, REST
from dashboard.forms import UNTOUCHED, Filled
from jobs.reads.views import AppView


def show(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the form."""
    folded = {one.name for section in REST for one in section.fields}
    return rendering.render(
        request,
        "settings/new_app.html",
        title="Add an app",
        status=filled.status,
        filled=filled,
        first=FIRST,
        rest=REST,
        is_unfolded=not folded.isdisjoint(filled.problems),
    )


def show_added(request: Request, app: AppView) -> Response:
    """Show what is left to do on GitHub; for a new repository, also the webhook's secret."""
    return rendering.render(
        request, "settings/added.html", title=f"{app.name}: added", status=201, app=app
    )
