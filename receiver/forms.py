"""Forms that a browser has sent by itself, without a script: they lead back to their page."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.views.login import page_behind
from receiver.errors import is_form_of_a_browser

FIRST_REDIRECT = 300


def led_back(request: Request, response: Response) -> Response:
    """Give the answer to a change: for a page's form the way back to the page, when it was done.

    Programs and scripts get what they asked for; so does a form whose page is not known, or whose
    answer is a page of its own, with a secret perhaps that is shown this once.
    """
    page = page_behind(request) if is_form_of_a_browser(request) else None
    is_page = response.media_type == "text/html"
    if page is None or is_page or response.status_code >= FIRST_REDIRECT:
        return response
    return RedirectResponse(page, 303, background=response.background)
