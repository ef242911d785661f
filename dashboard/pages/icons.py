"""The favicons."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dashboard import charts, rendering


def show(request: Request) -> Response:
    """Give the icon of a tone, so that a browser's tab shows the state of its page."""
    tone = request.path_params["tone"]
    if tone not in charts.FAVICONS:
        raise HTTPException(404)
    return rendering.drawing(charts.favicon(tone))


def home(_request: Request) -> Response:
    """Give Keystone's own icon, for browsers that request `/favicon.ico` unasked."""
    return rendering.drawing(charts.favicon("home"))
