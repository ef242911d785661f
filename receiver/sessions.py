"""Logging in and out: passwords are tried a few at a time, and not too often."""

from dataclasses import dataclass
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlmodel import select
from starlette.responses import RedirectResponse, Response

from dashboard.views.login import login_page, safe_next
from jobs.app_input import NAME
from jobs.models import User
from jobs.records.access import (
    SESSION_LONGEST,
    OpenedSession,
    check_password,
    close_session,
    note_failed_login,
    open_session,
)
from jobs.records.audit import Actor
from jobs.runtime import Runtime
from jobs.settings import WebSettings
from receiver.access import COOKIE, address_of, ensure_same_origin
from receiver.errors import RateLimitedError, UnauthenticatedError
from receiver.routing import Call, is_form, json_response
from receiver.schemas import LoggedInView, LoginInput

# A password costs 0.2 s and 64 MiB to check.
CHECKS_AT_ONCE = 2
MOST_WAITING = 16
PER_ACCOUNT = parse("10 per 5 minutes")
PER_ADDRESS = parse("30 per 5 minutes")
PAUSE_S = 60


class LoginGate:
    """Lets so many attempts in, by account and by address, and so many at once."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self.checks = CapacityLimiter(CHECKS_AT_ONCE)

    def enter(self, *, name: str, address: str) -> None:
        """Count an attempt.

        Raises:
            RateLimitedError: there were too many of the account or the address, or are right now.
        """
        if self.checks.statistics().tasks_waiting >= MOST_WAITING:
            raise RateLimitedError("too many people log in right now", retry_after_s=1)
        # The address first: one that is over its limit cannot use up somebody's account.
        self._count(PER_ADDRESS, "address", address)
        self._count(PER_ACCOUNT, "account", name)

    def _count(self, limit: RateLimitItem, *key: str) -> None:
        if not self._limiter.hit(limit, *key):
            raise RateLimitedError("too many attempts; wait a minute", retry_after_s=PAUSE_S)

    def forgive(self, *, name: str) -> None:
        """Forget the attempts on an account whose owner has come in."""
        self._limiter.clear(PER_ACCOUNT, "account", name)


@dataclass(frozen=True)
class _Login:
    user: User
    opened: OpenedSession


async def log_in(call: Call[LoginInput]) -> Response:
    """Open a session and set its cookie.

    A form is sent on to its field `next`, or back to `/login?error=…` when name or password are
    wrong; JSON is answered with JSON.
    """
    ensure_same_origin(call.request, call.settings)
    address = address_of(call.request)
    gate: LoginGate = call.request.app.state.login_gate
    try:
        gate.enter(name=call.given.name, address=address)
    except RateLimitedError as exc:
        return _too_often(call, exc)
    login = await to_thread.run_sync(
        _try_login, call.runtime, call.given, address, limiter=gate.checks
    )
    if login is None:
        return _refused(call)
    gate.forgive(name=call.given.name)
    return _welcomed(call, login)


def _try_login(runtime: Runtime[WebSettings], given: LoginInput, address: str) -> _Login | None:
    with runtime.database.reading() as session:
        # A name that no user can have is not asked for, but takes the same time.
        statement = select(User).where(User.name == given.name)
        user = session.exec(statement).first() if NAME.fullmatch(given.name) else None
    # Outside a transaction: it takes long.
    is_right = check_password(user, given.password)
    with runtime.database.writing() as session:
        if user is None or not is_right:
            note_failed_login(session, given.name.replace("\0", ""), address)
            return None
        return _Login(user, open_session(session, user, Actor("user", user.name, address)))


def _welcomed(call: Call[LoginInput], login: _Login) -> Response:
    csrf_token = login.opened.csrf_token
    response: Response = RedirectResponse(safe_next(call.given.next), 303)
    if not is_form(call.request):
        view = LoggedInView(name=login.user.name, role=login.user.role, csrf_token=csrf_token)
        response = json_response(view, 200)
    response.set_cookie(
        COOKIE,
        login.opened.cookie.get_secret_value(),
        max_age=int(SESSION_LONGEST.total_seconds()),
        secure=_is_https(call.settings),
        httponly=True,
        samesite="lax",
    )
    return response


def _refused(call: Call[LoginInput]) -> Response:
    if not is_form(call.request):
        # The same whether there is such a user or not.
        raise UnauthenticatedError("the name or the password is wrong")
    query = urlencode({"error": "wrong_credentials", "next": safe_next(call.given.next)})
    return RedirectResponse(f"/login?{query}", 303)


def _too_often(call: Call[LoginInput], exc: RateLimitedError) -> Response:
    if not is_form(call.request):
        raise exc
    page = login_page(call.request, safe_next(call.given.next), error="busy", status=429)
    page.headers.update(exc.headers)
    return page


def log_out(call: Call[None]) -> Response:
    """End the session; a form is sent to the login page."""
    cookie = call.request.cookies.get(COOKIE, "")
    with call.writing() as session:
        close_session(session, cookie, call.actor)
    response = (
        RedirectResponse("/login", 303) if is_form(call.request) else Response(status_code=204)
    )
    response.delete_cookie(COOKIE, secure=_is_https(call.settings), httponly=True, samesite="lax")
    return response


def _is_https(settings: WebSettings) -> bool:
    return settings.effective_public_url.startswith("https://")
