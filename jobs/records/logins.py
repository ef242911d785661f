"""Browser sessions, stored as rows so that each one can be ended at once and expires."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr
from sqlmodel import Session, col, delete, select

from jobs.reads.account_views import SessionView
from jobs.reads.people import SESSION_LONGEST, is_open
from jobs.records.audit import Tag, note
from jobs.records.tokens import digest
from jobs.rules.actors import Actor
from jobs.storage.models import LoginSession, User, now

# Per user. A further login ends the least recently used session.
MOST_SESSIONS = 20
# The time of last use is stored at most this often, so that page views do not all write.
SEEN_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True)
class OpenedSession:
    """A new login: the cookie's value, which is stored only as a hash, and the CSRF token."""

    cookie: SecretStr
    csrf_token: str


def open_session(
    session: Session, user: User, actor: Actor, *, instead_of: str = ""
) -> OpenedSession:
    """Log a user in.

    Args:
        instead_of: the browser's previous cookie; its session ends.
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
    """Add a failed login to the audit trail.

    Args:
        user: None if no user has the name. The typed name is not stored, because people sometimes
            type their password there.
    """
    note(session, Tag.LOGIN_FAILED, actor, f"user:{user.name if user else '?'}")


def find_session(session: Session, cookie: str) -> tuple[LoginSession, User] | None:
    """Give a cookie's session and its user; None if the session has ended or never existed."""
    row = _session_of_cookie(session, cookie)
    if row is None or not is_open(row):
        return None
    user = session.get(User, row.user_id)
    return (row, user) if user is not None and user.disabled_at is None else None


def _session_of_cookie(session: Session, cookie: str) -> LoginSession | None:
    found = select(LoginSession).where(LoginSession.hashed == session_digest(cookie))
    return session.exec(found).first()


def touch_session(session: Session, session_id: int) -> None:
    """Store that a session is in use."""
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
    """End a user's sessions except the one with the cookie `keep`; return the number ended.

    The caller adds the audit event.
    """
    rows = session.exec(select(LoginSession).where(LoginSession.user_id == user.id)).all()
    ended = [row for row in rows if row.hashed != session_digest(keep)]
    for row in ended:
        session.delete(row)
    return len(ended)


def session_digest(cookie: str) -> str:
    """Hash a session's cookie for storage.

    The hash differs from that of other secrets on purpose. Before the router withheld the cookies
    from apps, apps may have seen them; those old sessions are no longer found.
    """
    return digest(f"session:{cookie}")


def session_view(row: LoginSession, *, cookie: str = "") -> SessionView:
    """Describe a session.

    Args:
        cookie: the cookie of the requesting browser.
    """
    return SessionView.model_validate(
        row.model_dump() | {"is_current": row.hashed == session_digest(cookie)}
    )


def drop_ended_sessions(session: Session) -> None:
    """Remove sessions older than `SESSION_LONGEST`, which are no longer valid."""
    session.exec(delete(LoginSession).where(col(LoginSession.created_at) < now() - SESSION_LONGEST))
