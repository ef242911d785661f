"""The pages of users and API tokens, for admins, and every user's own account."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import select
from starlette.requests import Request
from starlette.responses import Response

from dashboard import rendering
from dashboard.forms import UNTOUCHED, Field, Filled, Kind
from jobs.reads import people
from jobs.rules.passwords import SHORTEST
from jobs.states import ActorKind, Role, TokenState
from jobs.storage.models import User

ROLES = tuple(
    zip(
        Role,
        ("Viewer: reads", "Deployer: deploys too", "Admin: configures too"),
        strict=True,
    )
)
NAME = Field("name", "Name", hint="Lower-case letters, digits and dashes")
ROLE = Field("role", "Role", Kind.CHOICE, choices=ROLES)
PASSWORD = Field(
    "password",
    "Password",
    Kind.SECRET,
    hint=f"{SHORTEST} characters or more, and no common ones",
    may_be_none=True,
    autocomplete="new-password",
)
DAYS = Field("expires_in_days", "Days until it ends", Kind.NUMBER, start="365")
NEW_USER = (NAME, ROLE, PASSWORD)
NEW_TOKEN = (NAME, ROLE, DAYS)
OWN_PASSWORD = (
    Field(
        "present_password",
        "Present password",
        Kind.SECRET,
        autocomplete="current-password",
    ),
    Field(
        "password",
        "New password",
        Kind.SECRET,
        hint=f"{SHORTEST} characters or more, and no common ones; ends your other sessions",
        autocomplete="new-password",
    ),
)
TOKEN_LOOKS = {
    TokenState.ACTIVE: "good",
    TokenState.EXPIRED: "warn",
    TokenState.REVOKED: "idle",
}


def users(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the users and their roles."""
    with rendering.database_of(request).reading() as session:
        found = [people.user_view(row) for row in people.users(session)]
    fields = {"new": NEW_USER, "role_field": ROLE, "password_field": PASSWORD}
    return _draw(request, filled, "users", "Users", {"users": found, **fields})


def tokens(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the API tokens, without their values."""
    return _tokens(request, filled, made=None)


def show_token(request: Request, *, name: str, value: str) -> Response:
    """Show the value of a new API token, which is shown only once."""
    return _tokens(request, UNTOUCHED, made=(name, value))


def _tokens(request: Request, filled: Filled, made: tuple[str, str] | None) -> Response:
    with rendering.database_of(request).reading() as session:
        found = [people.api_token_view(row) for row in people.tokens(session)]
    values = {"tokens": found, "new": NEW_TOKEN, "looks": TOKEN_LOOKS, "made": made}
    return _draw(request, filled, "tokens", "Tokens", values)


def account(request: Request, filled: Filled = UNTOUCHED) -> Response:
    """Show the visitor's own password form and sessions."""
    visitor = rendering.visitor_of(request)
    name = visitor.name if visitor and visitor.kind is ActorKind.USER else ""
    with rendering.database_of(request).reading() as session:
        user = session.exec(select(User).where(User.name == name)).first()
        sessions = people.sessions_of(session, user) if user else []
    values = {"sessions": sessions, "user": user, "fields": OWN_PASSWORD}
    return _draw(request, filled, "account", "Account", values)


def _draw(
    request: Request, filled: Filled, template: str, title: str, values: Mapping[str, Any]
) -> Response:
    return rendering.render(
        request,
        f"settings/{template}.html",
        title=title,
        status=filled.status,
        filled=filled,
        done=rendering.done_words(request),
        **values,
    )
