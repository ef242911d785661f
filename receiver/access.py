"""Authentication and authorization: who sends a request, and whether they may.

A program sends `Authorization: Bearer ks_…`, a browser its session's cookie. Other sites can make a
browser send requests, so a browser's changes also need the session's CSRF token and our own origin.
"""

import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.errors import AccessError, StorageError
from jobs.processes.runtime import Runtime
from jobs.reads.people import api_token_state
from jobs.records.logins import SEEN_RESOLUTION, find_session, touch_session
from jobs.records.tokens import find_api_token, touch_api_token
from jobs.rules.naming import session_cookie
from jobs.rules.visitor import Visitor
from jobs.settings import Settings, WebSettings
from jobs.states import ActorKind, Role, TokenState
from jobs.storage.models import now
from receiver.errors import CsrfError, UnauthenticatedError, answer_error

logger = logging.getLogger(__name__)

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BEARER = re.compile(r"Bearer +([\x21-\x7e]{1,200})", re.IGNORECASE)
LONGEST_COOKIE = 200
# Requests to these paths need no visitor, so they skip the database query that finds one.
NOBODY_ASKS = ("/webhooks/", "/healthz", "/readyz", "/static/")
PROXY_HEADERS = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Door(StrEnum):
    """The requirements of endpoints that need no role."""

    ANYONE = "anyone"
    SIGNATURE = "signature"  # the handler verifies the body's signature itself
    TOKEN_OR_LOOPBACK = "token or loopback"  # noqa: S105


Needs = Role | Door
Touch = Callable[[], None]

HOW_TO_COME_IN = (
    "log in, or send `Authorization: Bearer TOKEN`; `keystone token create` makes a token"
)
WORTHLESS: Mapping[TokenState, str] = {
    TokenState.EXPIRED: "this token has expired; `keystone token create` makes another",
    TokenState.REVOKED: "this token was revoked; `keystone token create` makes another",
}
NO_TOKEN = "this is no token of this Keystone; `keystone token create` makes one"  # noqa: S105
SESSION_OVER = "this session is over; log in again"


@dataclass(frozen=True)
class Arrival:
    """The result of identifying a request.

    Attributes:
        visitor: None for a stranger.
        why_not: why the visitor is unknown, for the error message.
        touch: writes down that the token or the session was used; None when that is not due.
    """

    visitor: Visitor | None = None
    why_not: str = HOW_TO_COME_IN
    touch: Touch | None = None


class Identify:
    """Puts the `Visitor`, or None for a stranger, into `scope["state"]["visitor"]`.

    For a stranger, `scope["state"]["why_not"]` says what is wrong with the token or session that
    the request has.
    """

    def __init__(self, app: ASGIApp, *, runtime: Runtime[WebSettings]) -> None:
        self.app = app
        self.runtime = runtime
        self.database = runtime.database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the visitor, pass the request on, then write down when the visitor was seen."""
        if scope["type"] != "http" or scope["path"].startswith(NOBODY_ASKS):
            await self.app(scope, receive, send)
            return
        try:
            arrival = await run_in_threadpool(self._identify, HTTPConnection(scope))
        except StorageError as exc:
            await answer_error(Request(scope), exc)(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["visitor"], state["why_not"] = arrival.visitor, arrival.why_not
        state["ask_again"] = partial(self._identify, HTTPConnection(scope))
        await self.app(scope, receive, send)
        if arrival.touch is not None:
            await run_in_threadpool(_touch_quietly, arrival.touch)

    def _identify(self, connection: HTTPConnection) -> Arrival:
        if (authorization := connection.headers.get("authorization")) is not None:
            shown = BEARER.fullmatch(authorization.strip())
            return self._by_token(shown[1]) if shown else Arrival()
        cookie = cookie_of(connection, self.runtime)
        return self._by_cookie(cookie) if cookie else Arrival()

    def _by_token(self, token: str) -> Arrival:
        with self.database.reading() as session:
            row = find_api_token(session, token)
        if row is None:
            return Arrival(why_not=NO_TOKEN)
        if (state := api_token_state(row)) is not TokenState.ACTIVE:
            return Arrival(why_not=WORTHLESS[state])
        touch = self._toucher(touch_api_token, row.id) if _is_stale(row.last_used_at) else None
        return Arrival(Visitor(ActorKind.TOKEN, row.name, row.role), touch=touch)

    def _by_cookie(self, cookie: str) -> Arrival:
        with self.database.reading() as session:
            found = find_session(session, cookie)
        if found is None:
            return Arrival(why_not=SESSION_OVER)
        row, user = found
        touch = self._toucher(touch_session, row.id) if _is_stale(row.last_seen_at) else None
        return Arrival(Visitor(ActorKind.USER, user.name, user.role, row.csrf_token), touch=touch)

    def _toucher(self, touch: Callable[..., None], row_id: int | None) -> Touch:
        def write() -> None:
            with self.database.writing() as session:
                touch(session, row_id)

        return write


def _is_stale(seen_at: datetime | None) -> bool:
    return seen_at is None or now() - seen_at > SEEN_RESOLUTION


def _touch_quietly(touch: Touch) -> None:
    try:
        touch()
    except StorageError as exc:
        logger.warning("A visit was not remembered: %s", exc, extra={"action": "touch_failed"})


def is_still_known(request: Request) -> bool:
    """Check again whether the visitor's token or session is valid, for long-running responses."""
    ask_again: Callable[[], Arrival] = request.scope["state"]["ask_again"]
    try:
        return ask_again().visitor is not None
    except StorageError:  # keep the visitor; the database may answer at the next check
        return True


def ensure_allowed(request: Request, visitor: Visitor | None, needs: Needs) -> None:
    """Make sure the visitor may use an endpoint with these needs.

    Raises:
        UnauthenticatedError: the endpoint needs a known visitor, and the visitor is unknown.
        AccessError: the visitor's role is not enough.
    """
    if needs in {Door.ANYONE, Door.SIGNATURE}:
        return
    if needs is Door.TOKEN_OR_LOOPBACK and is_local(request):
        return
    if visitor is None:
        raise UnauthenticatedError(request.scope.get("state", {}).get("why_not", HOW_TO_COME_IN))
    if isinstance(needs, Role) and not visitor.may(needs):
        raise AccessError(f"this needs the role {needs}; {visitor.name} is a {visitor.role}")


def is_local(request: Request) -> bool:
    """Whether the request comes directly from a program on this machine, not through a proxy."""
    is_proxied = request.scope.get("state", {}).get("is_proxied", False)
    if is_proxied or any(name in request.headers for name in PROXY_HEADERS):
        return False
    if request.client is None:
        return False
    try:
        is_loopback = ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
    # DNS rebinding: a browser that resolves a foreign name to this machine still sends that name.
    return is_loopback and request.url.hostname in LOCAL_NAMES


def ensure_same_origin(request: Request, settings: Settings) -> None:
    """Make sure a browser's change comes from our own pages; programs send neither header.

    Raises:
        CsrfError: another site sent it.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        raise CsrfError("this change was sent by another site")
    origin = request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(settings.effective_public_url).netloc}
    # Compare only the host: behind a TLS proxy the scheme we see is not the browser's.
    if origin is not None and host_of(origin) not in ours - {"", None}:
        raise CsrfError("this change was sent by another site")


def host_of(address: str) -> str:
    """Give the host and port in a browser's `Origin` or `Referer`; empty when it names none."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def ensure_meant(
    request: Request, visitor: Visitor | None, field: str | None, settings: Settings
) -> None:
    """Make sure that the user of a browser intended the change.

    Args:
        field: the CSRF token in the form, when the body is a form.

    Raises:
        CsrfError: the session's CSRF token is missing or wrong, or another site sent it.
    """
    if request.method in SAFE_METHODS or visitor is None or not visitor.csrf_token:
        return
    ensure_same_origin(request, settings)
    given = request.headers.get(CSRF_HEADER) or field or ""
    if not hmac.compare_digest(given.encode(), visitor.csrf_token.encode()):
        raise CsrfError("the CSRF token is missing or wrong; load the page again")


def address_of(request: Request) -> str:
    """Give the client's address, empty when it is not known; see `receiver.proxies`."""
    return request.client.host if request.client else ""


def is_https(connection: HTTPConnection, settings: Settings) -> bool:
    """Whether browsers reach us by https, according to the settings or a trusted proxy."""
    is_public = settings.effective_public_url.startswith("https://")
    return is_public or connection.scope["scheme"] == "https"


def cookie_name(connection: HTTPConnection, runtime: Runtime[WebSettings]) -> str:
    """Give the name of the session's cookie; behind https only the `__Host-` name counts."""
    return session_cookie(runtime.identity, is_secure=is_https(connection, runtime.settings))


def cookie_of(connection: HTTPConnection, runtime: Runtime[WebSettings]) -> str:
    """Give the value of the session's cookie; empty when no cookie can be ours.

    Names are compared as browsers do, which strip spaces and tabs only. Python would also strip
    other white space, so an attacker could plant a cookie whose name becomes ours.
    """
    name = cookie_name(connection, runtime)
    sent = ";".join(connection.headers.getlist("cookie"))
    pairs = (part.strip(" \t").partition("=") for part in sent.split(";"))
    values = [value for key, _, value in pairs if key == name]
    return values[-1] if values and len(values[-1]) <= LONGEST_COOKIE else ""
