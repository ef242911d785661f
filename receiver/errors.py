"""The errors of requests, and one table with the HTTP answer to each error.

RequestError                   has its own status, code and headers
├─ SignatureError 401          no valid signature; the answer is always the same bytes
├─ PayloadError 400            signed or allowed, but not usable
├─ TooSlowError 408 · TooLargeError 413 · MediaTypeError 415 · HeadersTooLargeError 431
├─ UnauthenticatedError 401 · CsrfError 403
└─ RateLimitedError 429 · BusyError 503

All other errors come from `jobs.errors`. A message never contains a secret, and a 500 never
contains a traceback.
"""

import html
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from dashboard.forms import Texts, texts_of
from dashboard.pages import kept
from dashboard.pages.login import page_behind
from jobs.errors import (
    AccessError,
    BacklogError,
    ConfigurationError,
    ConflictError,
    DockerError,
    GitHubError,
    KeystoneError,
    Mistake,
    NotFoundError,
    QueueError,
    RefusedError,
    StorageError,
)
from jobs.rules.text import plain
from receiver.headers import SECURITY_HEADERS

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5
FORM = "application/x-www-form-urlencoded"


class RequestError(KeystoneError):
    """The request itself is wrong."""

    http_status = 400
    code = "bad_request"

    @property
    def headers(self) -> Mapping[str, str]:
        """The additional headers of the answer."""
        return {}


class SignatureError(RequestError):
    """The delivery is not signed with a webhook secret that is valid for its repository."""

    http_status = 401
    code = "unauthorized"

    def __init__(self) -> None:
        # The same message for every reason, so that the answer does not help an attacker.
        super().__init__("the delivery is not signed by a webhook secret of a known repository")


class PayloadError(RequestError):
    """The body, or a header that describes it, cannot be used."""


class TooSlowError(RequestError):
    """The body did not arrive in time."""

    http_status = 408
    code = "too_slow"

    @property
    def headers(self) -> Mapping[str, str]:
        """Close the connection, because the rest of the body is not read."""
        return {"connection": "close"}


class TooLargeError(RequestError):
    """The body is larger than this endpoint accepts."""

    http_status = 413
    code = "too_large"

    @property
    def headers(self) -> Mapping[str, str]:
        """Close the connection, because the rest of the body is not read."""
        return {"connection": "close"}


class MediaTypeError(RequestError):
    """The body has a media type that this endpoint does not accept."""

    http_status = 415
    code = "unsupported_media_type"


class HeadersTooLargeError(RequestError):
    """The headers are longer than any legitimate client sends."""

    http_status = 431
    code = "headers_too_large"


class UnauthenticatedError(RequestError):
    """The endpoint needs a known visitor, and the visitor is unknown."""

    http_status = 401
    code = "unauthenticated"

    @property
    def headers(self) -> Mapping[str, str]:
        """The authentication scheme that is accepted."""
        return {"www-authenticate": "Bearer"}


class CsrfError(RequestError):
    """A browser sent a change that its user may not have intended (CSRF)."""

    http_status = 403
    code = "csrf"


class BusyError(RequestError):
    """Too many requests are being handled at once.

    Attributes:
        retry_after_s: when to retry, in seconds.
    """

    http_status = 503
    code = "busy"

    def __init__(self, message: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)

    @property
    def headers(self) -> Mapping[str, str]:
        """When to retry."""
        return {"retry-after": str(self.retry_after_s)}


class RateLimitedError(BusyError):
    """The client has tried this too often."""

    http_status = 429
    code = "rate_limited"


DOMAIN: Mapping[type[KeystoneError], tuple[int, str]] = {
    ConfigurationError: (400, "invalid"),
    AccessError: (403, "forbidden"),
    NotFoundError: (404, "not_found"),
    ConflictError: (409, "conflict"),
    StorageError: (503, "storage_unavailable"),
    QueueError: (503, "queue_unavailable"),
    BacklogError: (503, "backlog_full"),
    DockerError: (503, "docker_unavailable"),
    GitHubError: (502, "github_refused"),
}
PROTOCOL: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "there is nothing at this address; /api/docs lists what there is"),
    405: ("method_not_allowed", "this address does not take that method"),
}
LATER = {"retry-after": str(RETRY_AFTER_S)}
UNAVAILABLE = "the database cannot be used right now; nothing was changed, so try again"
NO_ENGINE = "the Docker Engine could not be asked; `keystone doctor` says why"
BROKEN = "something went wrong on our side; the log of the web process says what"


def answer_error(request: Request, exc: Exception) -> Response:
    """Give the HTTP answer to any error, and log errors that are our own fault."""
    reason = _reason_to_keep(request, exc)
    return _answer_to(request, exc) if reason is None else FormKeeper(request, reason)


def _answer_to(request: Request, exc: Exception) -> Response:
    match exc:
        case RequestError():
            return _answer(request, exc.http_status, exc.code, str(exc), exc.headers)
        case HTTPException():
            code, message = PROTOCOL.get(exc.status_code, ("bad_request", exc.detail))
            return _answer(request, exc.status_code, code, message, exc.headers or {})
        case StorageError() | DBAPIError():
            return _answer_unavailable(request, exc)
        case BacklogError():
            return _answer(request, *DOMAIN[BacklogError], str(exc), LATER)
        case KeystoneError():
            return _answer_domain(request, exc)
        case _:
            return _answer(request, 500, "internal", BROKEN, {})


def status_of(exc: KeystoneError) -> int:
    """Give the HTTP status of the answer to an error."""
    return exc.http_status if isinstance(exc, RequestError) else _domain_answer(exc)[0]


def _answer_unavailable(request: Request, exc: Exception) -> Response:
    _log_unavailable(exc)
    return _answer(request, 503, "storage_unavailable", UNAVAILABLE, LATER)


def _log_unavailable(exc: Exception) -> None:
    # The driver's message may name hosts and files, so it goes only to the log.
    cause = str(exc) if isinstance(exc, StorageError) else type(exc).__name__
    logger.error("A request failed: %s", cause, extra={"action": "storage_failed"})


def _answer_domain(request: Request, exc: KeystoneError) -> Response:
    status, code = _domain_answer(exc)
    if status >= 500:  # noqa: PLR2004
        logger.error("A request failed: %s", exc, extra={"action": "request_failed"})
    mistakes = exc.mistakes if isinstance(exc, RefusedError) else ()
    return _answer(request, status, code, _told(exc, status), {}, mistakes)


def _told(exc: KeystoneError, status: int) -> str:
    """Give the public message of an error; those of Docker and of a 500 go only to the log."""
    match exc:
        case QueueError() | GitHubError():
            return str(exc)
        case DockerError():
            return NO_ENGINE
        case _:
            return str(exc) if status < 500 else BROKEN  # noqa: PLR2004


def _domain_answer(exc: KeystoneError) -> tuple[int, str]:
    for kind in type(exc).__mro__:
        if kind in DOMAIN:
            return DOMAIN[kind]
    return 500, "internal"


def _answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str],
    mistakes: Sequence[Mistake] = (),
) -> Response:
    # Add the security headers here too: the answer to a crash does not pass the middleware.
    all_headers = {**SECURITY_HEADERS, **headers}
    message = plain(message)  # it may quote untrusted text
    if _wants_page(request):
        return HTMLResponse(_page(status, message), status, all_headers)
    return JSONResponse(error_body(code, message, mistakes), status, all_headers)


def error_body(
    code: str, message: str, mistakes: Sequence[Mistake] = ()
) -> dict[str, dict[str, object]]:
    """Give the JSON body of every error answer; it has `fields` only if single fields are wrong."""
    error: dict[str, object] = {"code": code, "message": message}
    if fields := [_field(each) for each in mistakes if each.is_of_field]:
        error["fields"] = fields
    return {"error": error}


def _field(mistake: Mistake) -> dict[str, object]:
    index = mistake.index
    return {
        "field": plain(mistake.field),
        "index": plain(index) if isinstance(index, str) else index,
        "message": plain(mistake.message),
    }


def _wants_page(request: Request) -> bool:
    is_api = request.url.path.startswith(("/api/", "/webhooks/"))
    # A browser that sends a form without a script shows the answer as a page, so it needs HTML.
    return is_form_of_a_browser(request) or (_takes_pages(request) and not is_api)


def is_form_of_a_browser(request: Request) -> bool:
    """Whether a browser sent a form without a script; a script would ask for JSON."""
    is_form = request.headers.get("content-type", "").startswith(FORM)
    return is_form and _takes_pages(request)


def _takes_pages(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _page(status: int, message: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Keystone</title>'
        f"</head><body><h1>{status}</h1><p>{html.escape(message)}</p>"
        '<p><a href="/">Back to Keystone</a></p></body></html>\n'
    )


# --- A form that could not be accepted --------------------------------------------------------


class FormKeeper(Response):
    """The answer to a page's form that was refused unread: reads the form and keeps its texts.

    If the form has no texts and the session is over, it redirects to the login, which leads back to
    the page.
    """

    def __init__(self, request: Request, reason: kept.Reason) -> None:
        super().__init__(status_code=reason.status)
        self._request, self._reason = request, reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the form, and answer with a page that shows its texts."""
        answer = self._answer(await _read_form(Request(scope, receive)))
        await answer(scope, receive, send)

    def _answer(self, texts: Texts) -> Response:
        request, reason = self._request, self._reason
        if kept.is_worth_keeping(texts):
            return kept.show(request, texts, reason)
        if reason.is_stranger:
            query = urlencode({"error": "expired", "next": page_behind(request) or "/"})
            return RedirectResponse(f"/login?{query}", 303, SECURITY_HEADERS)
        return _answer(request, 503, "storage_unavailable", UNAVAILABLE, LATER)


def _reason_to_keep(request: Request, exc: Exception) -> kept.Reason | None:
    """Give why a form that was not read yet cannot be accepted; None for any other error."""
    if not _is_form_of_a_page(request):
        return None
    match exc:
        case UnauthenticatedError():
            return kept.NOT_LOGGED_IN
        case StorageError() if not _is_read(request):
            _log_unavailable(exc)
            return kept.NO_DATABASE
        case _:
            return None


async def _read_form(request: Request) -> Texts:
    try:
        return await run_in_threadpool(texts_of, await request.body())
    except (ValueError, ClientDisconnect, RequestError):
        return {}


def _is_form_of_a_page(request: Request) -> bool:
    """Whether one of our own pages sent the form; a form of another site is never shown again."""
    is_sent = request.method == "POST" and is_form_of_a_browser(request)
    return is_sent and page_behind(request) is not None


def _is_read(request: Request) -> bool:
    # Whoever is let in to read a body has been asked for before.
    return "visitor" in request.scope.get("state", {})
