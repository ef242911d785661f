"""Renders every page, and sends it with the same security headers.

The policy forbids inline scripts and styles and everything from other sites. So even if a branch's
or an author's name got past the escaping, it could not run as a script.
"""

import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard import charts, labels
from jobs.errors import NotFoundError, StorageError
from jobs.rules.text import shown_name
from jobs.rules.visitor import Visitor
from jobs.settings import Settings
from jobs.states import Role
from jobs.storage.database import Database
from jobs.storage.models import now

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The messages after a form has succeeded. The address has only the key: anybody can write an
# address, so a page never shows text from it.
DONE = {
    "save": "Saved.",
    "save-moved": "Saved. The repository is fetched from another server now, so its token was "
    "taken away: set another under Repository.",
    "remove-app": "The app is gone.",
    "remove-app-last": "The app is gone, and its repository with it: remove its webhook on GitHub, "
    "too.",
    "remove-repository": "The repository is gone: remove its webhook on GitHub, too.",
    "set-github-id": "The id is saved; Keystone asks GitHub for the name that belongs to it.",
    "forget-github-id": "The id is forgotten; Keystone asks GitHub for it.",
    "set-variable-plain": "The variable is set, and is not a secret; the container has it from the "
    "next deployment on.",
    "set-variable-secret": "The variable is set as a secret; the container has it from the next "
    "deployment on.",
    "set-variable-unmasked": "The variable is set as a secret, but logs show its value: it is a "
    "common word, a short number, or shorter than 4 characters, and masking it would hide ordinary "
    "text. Choose a longer, random value if it protects something.",
    "import-variables": "The variables are set; the container has them from the next deployment "
    "on. The values of those marked “secret” below are never shown again.",
    "import-variables-unmasked": "The variables are set, but logs show the values of some secrets: "
    "they are common words, short numbers, or shorter than 4 characters.",
    "unset-variable": "The variable is gone; the container has it until the next deployment.",
    "set-certificate": "The certificate is saved; the router has it in a moment.",
    "remove-certificate": "The certificate is gone; its domain is served by HTTP only.",
    "set-token": "The token is saved; it is used from now on.",
    "remove-token": "The token is gone.",
    "end-older": "Only the newest webhook secret verifies now.",
    "drop-secret": "The repository's own webhook secret is not valid any more.",
    "install-hook": "The webhook is on GitHub, with the right address and secret.",
    "add-user": "The user can log in now.",
    "change-user": "Changed; it applies from the user's next request on.",
    "log-out-user": "The user is logged out everywhere.",
    "remove-user": "The user is gone.",
    "revoke-token": "The token is revoked.",
    "password": "Your password is changed; your other sessions have ended.",
}
# The largest value of an integer column in all supported databases.
LARGEST_ID = 2**31 - 1


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(labels, name)
        for name in (
            "duration",
            "exact",
            "machine",
            "short_sha",
            "first_line",
            "ref_words",
            "capital",
            "clock",
            "space",
        )
    }
    environment.filters["shown"] = shown_name
    environment.filters["age"] = lambda moment: labels.age(moment, now())
    environment.filters["waited"] = lambda moment: labels.waited(moment, now())
    environment.globals |= {"icon": charts.icon, "labels": labels, "Role": Role}
    return environment


_templates = _environment()


# --- What a page reads from its request ------------------------------------------------------


def visitor_of(request: Request) -> Visitor | None:
    """Give the visitor whom the receiver has identified; None for a stranger."""
    visitor = getattr(request.state, "visitor", None)
    return visitor if isinstance(visitor, Visitor) else None


def database_of(request: Request) -> Database:
    """Give the dashboard's database."""
    database: Database = request.app.state.database
    return database


def settings_of(request: Request) -> Settings:
    """Give the dashboard's settings."""
    settings: Settings = request.app.state.settings
    return settings


def cursor_of(request: Request) -> int | None:
    """Give the cursor `before=` of a list; None if it is missing or not valid."""
    text = request.query_params.get("before", "")
    return int(text) if is_id(text) else None


def done_words(request: Request) -> str:
    """Give the success message of the form that redirected here; empty if there was none."""
    return DONE.get(request.query_params.get("done", ""), "")


def is_id(text: str) -> bool:
    """Whether a text is a number within the range of row ids."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID))
    return is_number and int(text) <= LARGEST_ID


# --- Answers ---------------------------------------------------------------------------------


def render(
    request: Request,
    template: str,
    *,
    title: str,
    tone: str = "home",
    status: int = HTTPStatus.OK,
    **values: object,
) -> Response:
    """Render a page.

    Args:
        title: the title of the browser's tab, before Keystone's name.
        tone: the tone of the favicon.
        values: the template's variables.
    """
    visitor = visitor_of(request)
    html = _templates.get_template(template).render(
        title=title,
        tone=tone,
        path=request.url.path,
        visitor=visitor,
        settings_pages=settings_of(request).settings_pages,
        refusal=partial(_refusal, visitor),
        **values,
    )
    # A cache must not give one visitor's page to another visitor.
    return HTMLResponse(html, status, {**HEADERS, "Cache-Control": "no-store"})


def redirect(address: str) -> Response:
    """Send the browser to another page of ours, with GET."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, {**HEADERS, "Cache-Control": "no-store"})


def drawing(svg: str) -> Response:
    """Give an SVG that browsers may cache for a day."""
    headers = {**HEADERS, "Cache-Control": "public, max-age=86400"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


def _refusal(visitor: Visitor | None, needed: Role) -> str:
    return labels.needs_role(needed, visitor.role) if visitor else "Log in first"


class Assets(StaticFiles):
    """The style sheets and scripts; browsers revalidate them with every use."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Give a file with our headers; `no-cache` makes browsers revalidate it by its ETag."""
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers.update({**HEADERS, "Cache-Control": "no-cache"})
        return answer


class VisitorsOnly:
    """Shows a page only to visitors who have logged in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show the page to a visitor, and redirect everybody else to the login."""
        request = Request(scope)
        if visitor_of(request) is not None:
            await self.app(scope, receive, send)
            return
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        await redirect(f"/login?next={quote(wanted, safe='/')}")(scope, receive, send)


class NeedsRole:
    """Shows a page to visitors who have at least a role; tells others which role it needs."""

    def __init__(self, app: ASGIApp, role: Role) -> None:
        self.app, self.role = app, role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show the page, or say which role it needs; `VisitorsOnly` must come before this."""
        request = Request(scope)
        visitor = visitor_of(request)
        if visitor is not None and visitor.may(self.role):
            await self.app(scope, receive, send)
            return
        sentence = f"{_refusal(visitor, self.role)}. An admin can give you another role."
        answer = _problem(request, HTTPStatus.FORBIDDEN, "Not for your role", sentence)
        await answer(scope, receive, send)


# --- Error pages -----------------------------------------------------------------------------


def _problem(request: Request, status: int, heading: str, sentence: str) -> Response:
    return render(
        request, "problem.html", title=heading, status=status, heading=heading, sentence=sentence
    )


def not_found(request: Request, exc: Exception) -> Response:
    """Answer for a thing that does not exist."""
    return _problem(request, HTTPStatus.NOT_FOUND, "Not found", f"{str(exc)[:300]}.")


def refused(request: Request, exc: Exception) -> Response:
    """Answer for errors of the routing: no such page, no such method."""
    status = exc.status_code if isinstance(exc, HTTPException) else HTTPStatus.BAD_REQUEST
    if status == HTTPStatus.NOT_FOUND:
        return _problem(request, status, "Not found", "There is no page at this address.")
    answer = _problem(request, status, HTTPStatus(status).phrase, HTTPStatus(status).description)
    answer.headers.update((isinstance(exc, HTTPException) and exc.headers) or {})
    return answer


def unavailable(request: Request, exc: Exception) -> Response:
    """Answer for a database that cannot be read."""
    logger.error("a page could not be read: %s", exc, extra={"action": "page_unavailable"})
    answer = _problem(
        request,
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database does not answer",
        "Nothing is lost: what runs goes on. Try again in a moment; `keystone doctor` knows more.",
    )
    answer.headers["Retry-After"] = "5"
    return answer


def broken(request: Request, _exc: Exception) -> Response:
    """Answer for an unexpected error, without details; the server logs the traceback."""
    return _problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong here",
        "This page is at fault, not your apps: they go on serving. The web process's log says why.",
    )


HANDLERS: dict[type[Exception] | int, Callable[[Request, Exception], Response]] = {
    NotFoundError: not_found,
    HTTPException: refused,
    StorageError: unavailable,
    HTTPStatus.INTERNAL_SERVER_ERROR: broken,
}
