"""Users, their sessions, and API tokens."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.app_input import NAME
from jobs.errors import ConfigurationError, ConflictError, NotFoundError
from jobs.models import ApiToken, LoginSession, User, now
from jobs.records.audit import Actor, Tag, note
from jobs.states import Role

TOKEN_PREFIX = "ks_"  # noqa: S105 — lets leak scanners recognise one
SHORTEST_PASSWORD = 8
SESSION_IDLE = timedelta(hours=12)
SESSION_LONGEST = timedelta(days=14)
# Writing each request's time would make every page view a write.
SEEN_RESOLUTION = timedelta(minutes=1)

_hasher = PasswordHasher()
# Verified when the user does not exist, so that the answer takes as long as for one who does.
_NOBODY = _hasher.hash(secrets.token_hex(16))


def digest(secret: str) -> str:
    """Hash a random secret for storage; it is long enough to need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


# --- Users -----------------------------------------------------------------------------------


def add_user(session: Session, *, name: str, role: Role, password: SecretStr, actor: Actor) -> User:
    """Make a user.

    Raises:
        ConfigurationError: the name or the password will not do.
        ConflictError: there is one of that name.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError("name: use lower-case letters, digits and dashes, at most 63")
    # Takes 0.2 s: done before the first statement, which is what takes SQLite's write lock.
    password_hash = _hash(password)
    if session.exec(select(User).where(User.name == name)).first() is not None:
        raise ConflictError(f"there is a user named {name} already")
    user = User(name=name, role=role, password_hash=password_hash)
    session.add(user)
    note(session, Tag.USER_CREATED, actor, f"user:{name}", role=role)
    return user


def set_password(session: Session, name: str, password: SecretStr, actor: Actor) -> None:
    """Change a user's password and end the user's sessions.

    Raises:
        ConfigurationError: the password will not do.
        NotFoundError: there is no such user.
    """
    password_hash = _hash(password)
    user = find_user(session, name)
    user.password_hash = password_hash
    _end_sessions(session, user)
    note(session, Tag.USER_CHANGED, actor, f"user:{name}", password="changed")  # noqa: S106


def remove_user(session: Session, name: str, actor: Actor) -> None:
    """Remove a user and the user's sessions.

    Raises:
        ConflictError: it is the last admin.
        NotFoundError: there is no such user.
    """
    user = find_user(session, name)
    _ensure_not_last_admin(session, user)
    note(session, Tag.USER_REMOVED, actor, f"user:{name}")
    session.delete(user)


def change_user(
    session: Session, name: str, *, role: Role | None, disabled: bool | None, actor: Actor
) -> User:
    """Change what a user may do, or whether the user may log in; None leaves it as it is.

    A user who is shut out is logged out everywhere.

    Raises:
        ConflictError: it is the last admin.
        NotFoundError: there is no such user.
    """
    user = find_user(session, name)
    if disabled or role not in {None, Role.ADMIN}:
        _ensure_not_last_admin(session, user)
    user.role = role or user.role
    if disabled is not None:
        user.disabled_at = (user.disabled_at or now()) if disabled else None
    if disabled:
        _end_sessions(session, user)
    is_disabled = user.disabled_at is not None
    note(session, Tag.USER_CHANGED, actor, f"user:{name}", role=user.role, disabled=is_disabled)
    return user


def _ensure_not_last_admin(session: Session, user: User) -> None:
    """Keep at least one admin who can log in."""
    others = select(User).where(
        User.role == Role.ADMIN, User.id != user.id, col(User.disabled_at).is_(None)
    )
    is_admin = user.role is Role.ADMIN and user.disabled_at is None
    if is_admin and session.exec(others).first() is None:
        raise ConflictError(f"{user.name} is the last admin; add another one first")


def find_user(session: Session, name: str) -> User:
    """Give the user of that name.

    Raises:
        NotFoundError: there is none.
    """
    user = session.exec(select(User).where(User.name == name)).first()
    if user is None:
        raise NotFoundError(f"there is no user named {name!r}")
    return user


def users(session: Session) -> list[User]:
    """List the users by name."""
    return list(session.exec(select(User).order_by(User.name)).all())


def _hash(password: SecretStr) -> str:
    if len(password.get_secret_value()) < SHORTEST_PASSWORD:
        raise ConfigurationError(f"password: use at least {SHORTEST_PASSWORD} characters")
    return _hasher.hash(password.get_secret_value())


# --- Logging in ------------------------------------------------------------------------------


def check_password(user: User | None, password: SecretStr) -> bool:
    """Whether the password is the user's; takes as long when there is no such user.

    Costs about 0.2 s and 64 MiB: call it outside a transaction, a few at a time.
    """
    try:
        _hasher.verify(user.password_hash if user else _NOBODY, password.get_secret_value())
    except (VerifyMismatchError, InvalidHashError):
        return False
    return user is not None and user.disabled_at is None


@dataclass(frozen=True)
class OpenedSession:
    """A new login: the cookie's value, which is stored hashed only, and the CSRF token."""

    cookie: SecretStr
    csrf_token: str


def open_session(session: Session, user: User, actor: Actor) -> OpenedSession:
    """Log a user in."""
    cookie = secrets.token_urlsafe(32)
    row = LoginSession(
        hashed=digest(cookie), user_id=user.id or 0, csrf_token=secrets.token_urlsafe(24)
    )
    session.add(row)
    note(session, Tag.LOGIN_SUCCEEDED, actor, f"user:{user.name}")
    return OpenedSession(SecretStr(cookie), row.csrf_token)


def note_failed_login(session: Session, name: str, address: str) -> None:
    """Put a failed login on record."""
    actor = Actor("user", "unknown", address)
    note(session, Tag.LOGIN_FAILED, actor, f"user:{name[:63]}")


def find_session(session: Session, cookie: str) -> tuple[LoginSession, User] | None:
    """Give the session a cookie stands for and its user, or None when it is over or never was."""
    row = session.exec(select(LoginSession).where(LoginSession.hashed == digest(cookie))).first()
    if row is None:
        return None
    moment = now()
    if moment - row.last_seen_at > SESSION_IDLE or moment - row.created_at > SESSION_LONGEST:
        return None
    user = session.get(User, row.user_id)
    return (row, user) if user is not None and user.disabled_at is None else None


def touch_session(session: Session, session_id: int) -> None:
    """Remember that a session is in use."""
    row = session.get(LoginSession, session_id)
    if row is not None:
        row.last_seen_at = now()


def close_session(session: Session, cookie: str, actor: Actor) -> None:
    """Log a browser out."""
    row = session.exec(select(LoginSession).where(LoginSession.hashed == digest(cookie))).first()
    if row is not None:
        session.delete(row)
        note(session, Tag.LOGOUT, actor, str(actor))


def _end_sessions(session: Session, user: User) -> None:
    for row in session.exec(select(LoginSession).where(LoginSession.user_id == user.id)).all():
        session.delete(row)


# --- API tokens ------------------------------------------------------------------------------


def create_token(session: Session, *, name: str, role: Role, actor: Actor) -> SecretStr:
    """Make an API token and give it, this once.

    Raises:
        ConfigurationError: the name will not do.
        ConflictError: there is one of that name that still works.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError("name: use lower-case letters, digits and dashes, at most 63")
    old = session.exec(select(ApiToken).where(ApiToken.name == name)).first()
    if old is not None:
        if old.revoked_at is None:
            raise ConflictError(f"there is a token named {name} already; revoke it first")
        session.delete(old)
        session.flush()
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(ApiToken(name=name, hashed=digest(token), role=role, created_by=str(actor)))
    note(session, Tag.TOKEN_CREATED, actor, f"token:{name}", role=role)
    return SecretStr(token)


def find_token(session: Session, token: str) -> ApiToken | None:
    """Give the API token with that value, or None when there is none or it was revoked."""
    row = session.exec(select(ApiToken).where(ApiToken.hashed == digest(token))).first()
    return row if row is not None and row.revoked_at is None else None


def touch_token(session: Session, token_id: int) -> None:
    """Remember that a token was used."""
    row = session.get(ApiToken, token_id)
    if row is not None:
        row.last_used_at = now()


def revoke_token(session: Session, name: str, actor: Actor) -> None:
    """Make an API token worthless.

    Raises:
        NotFoundError: there is no such token.
    """
    row = session.exec(select(ApiToken).where(ApiToken.name == name)).first()
    if row is None or row.revoked_at is not None:
        raise NotFoundError(f"there is no token named {name!r}")
    row.revoked_at = now()
    note(session, Tag.TOKEN_REVOKED, actor, f"token:{name}")


def tokens(session: Session) -> list[ApiToken]:
    """List the API tokens, newest first."""
    return list(session.exec(select(ApiToken).order_by(col(ApiToken.id).desc())).all())
