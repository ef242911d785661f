"""Tables for access: users, sessions, API tokens, and the audit trail."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Index,
)
from sqlmodel import Field, SQLModel

from jobs.states import (
    Role,
)
from jobs.storage.columns import DoneBySomebody, ShownName, WordColumn, now


class AuditEvent(DoneBySomebody, table=True):
    """An audited action: who did what to which thing, when. The database refuses to change one."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_actor", "actor_kind", "actor_name"),)

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=now, index=True)
    tag: str = Field(max_length=64, index=True)  # "deployment.requested"
    target: str = Field(sa_type=ShownName(200), index=True)  # "app:web", "deployment:41"
    address: str = Field(default="", max_length=64)
    details: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class User(SQLModel, table=True):
    """A user who may log in."""

    __tablename__ = "users"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    role: Role = Field(sa_type=WordColumn(Role))
    password_hash: str = Field(max_length=200)
    disabled_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)


class LoginSession(SQLModel, table=True):
    """A browser's login; the cookie's value is stored as a hash."""

    __tablename__ = "login_sessions"

    id: int | None = Field(default=None, primary_key=True)
    hashed: str = Field(max_length=64, unique=True)
    user_id: int = Field(foreign_key="users.id", index=True, ondelete="CASCADE")
    csrf_token: str = Field(max_length=64)
    address: str = Field(default="", max_length=64)  # where the login came from
    created_at: datetime = Field(default_factory=now)
    last_seen_at: datetime = Field(default_factory=now)


class ApiToken(SQLModel, table=True):
    """A program's token for the API; stored as a hash, shown once."""

    __tablename__ = "api_tokens"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=63, unique=True)
    hashed: str = Field(max_length=64, unique=True)
    role: Role = Field(sa_type=WordColumn(Role))
    created_by: str = Field(sa_type=ShownName(200))
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
