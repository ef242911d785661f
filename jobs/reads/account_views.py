"""The public shapes of users, tokens and sessions (DESIGN §5)."""

from datetime import datetime

from pydantic import Field

from jobs.reads.views import View
from jobs.states import Role, TokenState


class UserView(View):
    """A user who may log in."""

    id: int
    name: str
    role: Role
    disabled: bool
    created_at: datetime


class TokenView(View):
    """A program's API token, without its value."""

    id: int
    name: str
    role: Role
    state: TokenState
    created_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="Null: never, made by an older version")
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None


class SessionView(View):
    """A session: a browser with which a user is logged in."""

    id: int
    address: str = Field(description="Where the login came from")
    created_at: datetime
    last_seen_at: datetime = Field(description="To the minute")
    is_current: bool = Field(description="Whether it is the session of this request")


class AccountView(View):
    """The user or token that sends the request."""

    kind: str = Field(description="`user` or `token`")
    name: str
    role: Role
    sessions: list[SessionView] = Field(description="For a user: the open sessions")
