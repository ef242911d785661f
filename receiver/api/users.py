"""/api/users: the users and their sessions."""

from sqlmodel import Session

from jobs.reads.account_views import SessionView, UserView
from jobs.reads.people import sessions_of, user_view, users
from jobs.reads.views import Page
from jobs.records.logins import end_sessions, session_view
from jobs.records.users import (
    add_user,
    change_user,
    find_user,
    hash_password,
    remove_user,
    set_password,
)
from jobs.states import Role
from receiver.access import cookie_of
from receiver.routing import Call, Endpoints, Nothing
from receiver.schemas import UserChange, UserInput

ENDPOINTS = Endpoints()


@ENDPOINTS.add("GET", "/api/users", needs=Role.ADMIN)
def list_users(call: Call[Nothing]) -> Page[UserView]:
    """List the users, by name."""
    with call.reading() as session:
        return Page[UserView](items=[user_view(user) for user in users(session)])


@ENDPOINTS.add("POST", "/api/users", needs=Role.ADMIN, status=201, errors=(409,))
def create_user(call: Call[UserInput]) -> UserView:
    """Make a user."""
    given = call.given
    password = hash_password(given.name, given.password)
    with call.writing() as session:
        user = add_user(
            session, name=given.name, role=given.role, password=password, actor=call.actor
        )
        session.flush()
        return user_view(user)


@ENDPOINTS.add("PATCH", "/api/users/{name}", needs=Role.ADMIN, errors=(409,))
def update_user(call: Call[UserChange]) -> UserView:
    """Change a user's role or password, or disable the user; the latter two end open sessions.

    A new role applies from the user's next request on. The last admin cannot be demoted: 409.
    """
    name, given = call.name(), call.given.password
    password = None if given is None else hash_password(name, given)
    with call.writing() as session:
        if password is not None:
            set_password(session, name, password, call.actor)
        _change(session, name, call)
        return user_view(find_user(session, name))


def _change(session: Session, name: str, call: Call[UserChange]) -> None:
    role, disabled = call.given.role, call.given.disabled
    if role is not None or disabled is not None:
        change_user(session, name, role=role, disabled=disabled, actor=call.actor)


@ENDPOINTS.add("DELETE", "/api/users/{name}", needs=Role.ADMIN, errors=(409,))
def delete_user(call: Call[Nothing]) -> None:
    """Remove a user and the user's sessions; the last admin cannot be removed: 409."""
    with call.writing() as session:
        remove_user(session, call.name(), call.actor)


@ENDPOINTS.add("GET", "/api/users/{name}/sessions", needs=Role.ADMIN)
def list_sessions(call: Call[Nothing]) -> Page[SessionView]:
    """List a user's sessions, the most recently used first."""
    cookie = cookie_of(call.request, call.runtime)
    with call.reading() as session:
        rows = sessions_of(session, find_user(session, call.name()))
    return Page[SessionView](items=[session_view(row, cookie=cookie) for row in rows])


@ENDPOINTS.add("DELETE", "/api/users/{name}/sessions", needs=Role.ADMIN)
def delete_sessions(call: Call[Nothing]) -> None:
    """Log a user out everywhere."""
    with call.writing() as session:
        end_sessions(session, find_user(session, call.name()), call.actor)
