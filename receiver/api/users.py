"""/api/users: who may log in."""

from sqlmodel import Session

from jobs.models import User
from jobs.records.access import (
    add_user,
    change_user,
    find_user,
    remove_user,
    set_password,
    users,
)
from jobs.views import Page, UserView
from receiver.routing import Call, Nothing
from receiver.schemas import UserChange, UserInput


def list_users(call: Call[Nothing]) -> Page[UserView]:
    """List the users, by name."""
    with call.reading() as session:
        return Page[UserView](items=[_view(user) for user in users(session)])


def create_user(call: Call[UserInput]) -> UserView:
    """Make a user."""
    given = call.given
    with call.writing() as session:
        user = add_user(
            session, name=given.name, role=given.role, password=given.password, actor=call.actor
        )
        session.flush()
        return _view(user)


def update_user(call: Call[UserChange]) -> UserView:
    """Change a user's role or password, or shut the user out; open sessions end with it."""
    name = call.name()
    with call.writing() as session:
        _change(session, name, call)
        return _view(find_user(session, name))


def _change(session: Session, name: str, call: Call[UserChange]) -> None:
    role, disabled = call.given.role, call.given.disabled
    if role is not None or disabled is not None:
        change_user(session, name, role=role, disabled=disabled, actor=call.actor)
    if call.given.password is not None:
        set_password(session, name, call.given.password, call.actor)


def delete_user(call: Call[Nothing]) -> None:
    """Remove a user and the user's sessions."""
    with call.writing() as session:
        remove_user(session, call.name(), call.actor)


def _view(user: User) -> UserView:
    return UserView(
        id=user.id or 0,
        name=user.name,
        role=user.role,
        disabled=user.disabled_at is not None,
        created_at=user.created_at,
    )
