"""Login and logout; password checks are limited in number at once and in rate."""

from dataclasses import dataclass
from urllib.parse import urlencode

from anyio import to_thread
from sqlmodel import Session, select
from starlette.responses import RedirectResponse, Response

from dashboard.pages.login import login_page, safe_next
from jobs.processes.runtime import Runtime
from jobs.reads.people import SESSION_LONGEST
from jobs.records.logins import (
    OpenedSession,
    close_session,
    end_sessions,
    note_failed_login,
    open_session,
)
from jobs.records.users import check_password, find_user, is_as_it_was
from jobs.rules.actors import Actor, stranger
from jobs.rules.field_types import NAME
from jobs.settings import WebSettings
from jobs.states import ActorKind, Role
from jobs.storage.models import User
from receiver.access import Door, address_of, cookie_name, cookie_of, ensure_same_origin, is_https
from receiver.errors import RateLimitedError, UnauthenticatedError
from receiver.login_limits import LoginGate
from receiver.routing import Call, Endpoints, is_form, json_response
from receiver.schemas import LoggedInView, LoginInput, LogoutInput

ENDPOINTS = Endpoints()


@dataclass(frozen=True)
class _Login:
    user: User
    opened: OpenedSession


@dataclass(frozen=True)
class _Attempt:
    """One attempt to log in."""

    given: LoginInput
    address: str
    cookie: str  # of the session that the browser already has


@ENDPOINTS.add(
    "POST",
    "/login",
    needs=Door.ANYONE,
    gives=LoggedInView,
    also=(303,),
    errors=(401, 403, 429, 503),
)
async def log_in(call: Call[LoginInput]) -> Response:
    """Open a session and set its cookie; the browser's earlier session ends.

    A form is redirected to its field `next`, or to `/login?error=…` when name or password are
    wrong; JSON is answered with JSON. Every failure makes the next attempt wait longer: 429 says
    how long.
    """
    ensure_same_origin(call.request, call.settings)
    attempt = _Attempt(call.given, address_of(call.request), cookie_of(call.request, call.runtime))
    gate: LoginGate = call.request.app.state.login_gate
    try:
        gate.enter(name=attempt.given.name, address=attempt.address)
    except RateLimitedError as exc:
        return _too_often(call, exc)
    login = await to_thread.run_sync(_try_login, call.runtime, attempt, limiter=gate.checks)
    if login is None:
        return _refused(call)
    gate.forgive(name=attempt.given.name, address=attempt.address)
    return _welcomed(call, login)


def _try_login(runtime: Runtime[WebSettings], attempt: _Attempt) -> _Login | None:
    with runtime.database.reading() as session:
        user = _named(session, attempt.given.name)
    # Outside a transaction, because it takes long.
    is_right = check_password(user, attempt.given.password)
    with runtime.database.writing() as session:
        if user is None or not is_right or not is_as_it_was(session, user):
            note_failed_login(session, user, stranger(attempt.address))
            return None
        actor = Actor(ActorKind.USER, user.name, attempt.address)
        return _Login(user, open_session(session, user, actor, instead_of=attempt.cookie))


def _named(session: Session, name: str) -> User | None:
    # A name that no user can have is not looked up; the password check takes the same time anyway.
    if not NAME.fullmatch(name):
        return None
    return session.exec(select(User).where(User.name == name)).first()


def _welcomed(call: Call[LoginInput], login: _Login) -> Response:
    csrf_token = login.opened.csrf_token
    response: Response = RedirectResponse(safe_next(call.given.next), 303)
    if not is_form(call.request):
        view = LoggedInView(name=login.user.name, role=login.user.role, csrf_token=csrf_token)
        response = json_response(view, 200)
    response.set_cookie(
        cookie_name(call.request, call.runtime),
        login.opened.cookie.get_secret_value(),
        max_age=int(SESSION_LONGEST.total_seconds()),
        secure=is_https(call.request, call.settings),
        httponly=True,
        samesite="lax",
    )
    return response


def _refused(call: Call[LoginInput]) -> Response:
    if not is_form(call.request):
        # The same answer whether the user exists or not.
        raise UnauthenticatedError("the name or the password is wrong")
    query = urlencode({"error": "wrong_credentials", "next": safe_next(call.given.next)})
    return RedirectResponse(f"/login?{query}", 303)


def _too_often(call: Call[LoginInput], exc: RateLimitedError) -> Response:
    if not is_form(call.request):
        raise exc
    page = login_page(call.request, safe_next(call.given.next), error="busy", status=429)
    page.headers.update(exc.headers)
    return page


@ENDPOINTS.add("POST", "/logout", needs=Role.VIEWER, also=(303,))
def log_out(call: Call[LogoutInput]) -> Response:
    """End the session, or with `everywhere` all sessions of the user; a form goes to the login."""
    with call.writing() as session:
        if (
            call.given.everywhere
            and call.visitor is not None
            and call.visitor.kind is ActorKind.USER
        ):
            end_sessions(session, find_user(session, call.visitor.name), call.actor)
        else:
            close_session(session, cookie_of(call.request, call.runtime), call.actor)
    response = (
        RedirectResponse("/login", 303) if is_form(call.request) else Response(status_code=204)
    )
    response.delete_cookie(
        cookie_name(call.request, call.runtime),
        secure=is_https(call.request, call.settings),
        httponly=True,
        samesite="lax",
    )
    return response
