"""The login page. Its form posts to the receiver, which sends the browser on or back here."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from dashboard import rendering

# The address has only the key: anybody can write an address, so a page never shows text from it.
PROBLEMS = {
    "wrong_credentials": "The name or the password is wrong.",
    "busy": "Too many attempts; wait a while and try again.",
    "expired": "You were logged out; log in again.",
}


def show(request: Request) -> Response:
    """Show the form; redirect a visitor who is logged in already."""
    following = safe_next(request.query_params.get("next", "/"))
    if rendering.visitor_of(request) is not None:
        return rendering.redirect(following)
    return login_page(request, following, error=request.query_params.get("error", ""))


def login_page(request: Request, following: str, *, error: str = "", status: int = 200) -> Response:
    """Draw the form.

    Args:
        following: the path to go to after the login; one of ours, see `safe_next`.
        error: a key of `PROBLEMS`; anything else shows nothing.
    """
    return rendering.render(
        request,
        "login.html",
        title="Log in",
        status=status,
        following=following,
        problem=PROBLEMS.get(error, ""),
    )


def page_behind(request: Request) -> str | None:
    """Give the page of ours whose form a browser has sent; None if it may not be one of ours.

    It reads `Referer`: our own pages send their whole address, other sites at most their origin.
    """
    try:
        page = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return None
    if not page.netloc or page.netloc != request.headers.get("host") or not page.path:
        return None
    return safe_next(page.path + (f"?{page.query}" if page.query else ""))


def safe_next(wanted: str) -> str:
    """Give the path if it is one of ours, else the overview, to prevent open redirects."""
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/login", "/logout"))
    plain = wanted.isprintable() and "\\" not in wanted
    return wanted if ours and plain else "/"
