"""Forms that a browser has sent by itself, without a script: they lead back to their page."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.views.login import safe_next
from receiver.access import host_of
from receiver.errors import FORM

FIRST_REDIRECT = 300


def led_back(request: Request, response: Response) -> Response:
    """Give the answer to a change: for a page's form the way back to the page, when it was done.

    Programs and scripts get what they asked for; so does a form whose page is not known, or whose
    answer is a page of its own, with a secret perhaps that is shown this once.
    """
    page = _page_behind(request)
    is_page = response.media_type == "text/html"
    if page is None or is_page or response.status_code >= FIRST_REDIRECT:
        return response
    return RedirectResponse(page, 303, background=response.background)


def _page_behind(request: Request) -> str | None:
    is_form = request.headers.get("content-type", "").startswith(FORM)
    if not is_form or "text/html" not in request.headers.get("accept", ""):
        return None
    # Our own pages send their whole address along, everybody else's at most their origin.
    address = request.headers.get("referer", "")
    host = host_of(address)
    if not host or host != request.headers.get("host"):
        return None
    page = urlsplit(address)
    if not page.path:
        return None
    return safe_next(page.path + (f"?{page.query}" if page.query else ""))
