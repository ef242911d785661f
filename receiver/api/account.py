"""/api/account: the visitor's own account, and the change of their password."""

from anyio import to_thread
from starlette.responses import RedirectResponse, Response

from dashboard.pages.login import safe_next
from jobs.errors import AccessError, Mistake
from jobs.reads.account_views import AccountView
from jobs.reads.people import sessions_of
from jobs.records.logins import note_failed_login, session_view
from jobs.records.users import check_password, find_user, hash_password, is_as_it_was, set_password
from jobs.states import ActorKind, Role
from jobs.storage.models import User
from receiver.access import cookie_of
from receiver.login_limits import LoginGate
from receiver.routing import Call, Endpoints, Nothing, is_form, visitor_of
from receiver.schemas import PasswordInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/account", needs=Role.VIEWER)
def show_account(call: Call[Nothing]) -> AccountView:
    """Show the visitor's name and role, and a user's open sessions."""
    visitor = visitor_of(call)
    sessions = []
    if visitor.kind is ActorKind.USER:
        cookie = cookie_of(call.request, call.runtime)
        with call.reading() as session:
            rows = sessions_of(session, find_user(session, visitor.name))
        sessions = [session_view(row, cookie=cookie) for row in rows]
    return AccountView(kind=visitor.kind, name=visitor.name, role=visitor.role, sessions=sessions)


@ENDPOINTS.add("POST", "/api/account/password", needs=Role.VIEWER, also=(303,), errors=(429,))
async def change_own_password(call: Call[PasswordInput]) -> Response:
    """Change the password of the user who is logged in, and end the user's other sessions.

    This needs the present password, and attempts are limited as at the login: 429 says how long to
    wait. A form is redirected to its field `next`.
    """
    visitor = visitor_of(call)
    if visitor.kind is not ActorKind.USER:
        raise AccessError("a token has no password; log in as a user")
    gate: LoginGate = call.request.app.state.login_gate
    gate.enter(name=visitor.name, address=call.actor.address)
    await to_thread.run_sync(_change, call, limiter=gate.checks)
    gate.forgive(name=visitor.name, address=call.actor.address)
    if is_form(call.request):
        return RedirectResponse(safe_next(call.given.next), 303)
    return Response(status_code=204)


def _change(call: Call[PasswordInput]) -> None:
    name = visitor_of(call).name
    with call.reading() as session:
        user = find_user(session, name)
    _ensure_known(call, user)
    cookie = cookie_of(call.request, call.runtime)
    password = hash_password(name, call.given.password)
    with call.writing() as session:
        if not is_as_it_was(session, user):
            raise AccessError("the password was changed meanwhile; log in again")
        set_password(session, name, password, call.actor, keep=cookie)


def _ensure_known(call: Call[PasswordInput], user: User) -> None:
    # Outside a transaction, because it takes long.
    if not check_password(user, call.given.present_password):
        with call.writing() as session:
            note_failed_login(session, user, call.actor)
        raise AccessError(Mistake("present_password", "is wrong"))
