"""The sessions of browsers: rows, so that each can be ended at once and none outlives its time."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr
from sqlmodel import Session, col, delete, select

from jobs.reads.people import SESSION_LONGEST, is_open
from jobs.reads.views import SessionView
from jobs.records.audit import Tag, note
from jobs.records.tokens import digest
from jobs.rules.actors import Actor
from jobs.storage.models import LoginSession, User, now

# One more ends the one that was used least lately.
MOST_SESSIONS = 20
# Writing each request's time would make every page view a write.
SEEN_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True)
class OpenedSession:
    """A new login: the cookie's value, which is stored hashed only, and the CSRF token."""

    cookie: SecretStr
    csrf_token: str


def open_session(
    session: Session, user: User, actor: Actor, *, instead_of: str = ""
) -> OpenedSession:
    """Log a user in.

    Args:
        instead_of: the cookie the browser had before; the session it stands for ends.
    """
    close_session(session, instead_of, actor)
    _make_room(session, user)
    cookie = secrets.token_urlsafe(32)
    row = LoginSession(
        hashed=session_digest(cookie),
        user_id=user.id or 0,
        csrf_token=secrets.token_urlsafe(24),
        address=actor.address[:64],
    )
    session.add(row)
    note(session, Tag.LOGIN_SUCCEEDED, actor, f"user:{user.name}")
    return OpenedSession(SecretStr(cookie), row.csrf_token)


def _make_room(session: Session, user: User) -> None:
    newest_first = (
        select(LoginSession)
        .where(LoginSession.user_id == user.id)
        .order_by(col(LoginSession.last_seen_at).desc(), col(LoginSession.id).desc())
    )
    for row in session.exec(newest_first.offset(MOST_SESSIONS - 1)).all():
        session.delete(row)


def note_failed_login(session: Session, user: User | None, actor: Actor) -> None:
    """Put a failed login on record.

    Args:
        user: None when the name is nobody's; what was typed is not kept, since people type their
            passwords there.
    """
    note(session, Tag.LOGIN_FAILED, actor, f"user:{user.name if user else '?'}")


def find_session(session: Session, cookie: str) -> tuple[LoginSession, User] | None:
    """Give the session a cookie stands for and its user, or None when it is over or never was."""
    row = _session_of_cookie(session, cookie)
    if row is None or not is_open(row):
        return None
    user = session.get(User, row.user_id)
    return (row, user) if user is not None and user.disabled_at is None else None


def _session_of_cookie(session: Session, cookie: str) -> LoginSession | None:
    found = select(LoginSession).where(LoginSession.hashed == session_digest(cookie))
    return session.exec(found).first()


def touch_session(session: Session, session_id: int) -> None:
    """Remember that a session is in use."""
    row = session.get(LoginSession, session_id)
    if row is not None:
        row.last_seen_at = now()


def close_session(session: Session, cookie: str, actor: Actor) -> None:
    """Log a browser out."""
    row = _session_of_cookie(session, cookie)
    if row is not None:
        session.delete(row)
        note(session, Tag.LOGOUT, actor, str(actor))


def end_sessions(session: Session, user: User, actor: Actor) -> None:
    """Log a user out everywhere."""
    ended = drop_sessions(session, user)
    note(session, Tag.LOGOUT_EVERYWHERE, actor, f"user:{user.name}", sessions_ended=ended)


def drop_sessions(session: Session, user: User, *, keep: str = "") -> int:
    """End a user's sessions but the one with the cookie `keep`; gives how many ended.

    The caller puts it on record.
    """
    rows = session.exec(select(LoginSession).where(LoginSession.user_id == user.id)).all()
    ended = [row for row in rows if row.hashed != session_digest(keep)]
    for row in ended:
        session.delete(row)
    return len(ended)


def session_digest(cookie: str) -> str:
    """Hash a session's cookie for storage.

    Not as other secrets: sessions opened before the router kept their cookies from apps, which may
    know them, are not found any more.
    """
    return digest(f"session:{cookie}")


def session_view(row: LoginSession, *, cookie: str = "") -> SessionView:
    """Describe a session.

    Args:
        cookie: that of the browser which asks.
    """
    return SessionView.model_validate(
        row.model_dump() | {"is_current": row.hashed == session_digest(cookie)}
    )


def drop_ended_sessions(session: Session) -> None:
    """Forget logins that cannot be used any more."""
    session.exec(delete(LoginSession).where(col(LoginSession.created_at) < now() - SESSION_LONGEST))
