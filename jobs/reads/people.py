"""SELECTs about users, their open sessions and API tokens, and the views of these."""

from datetime import timedelta

from sqlmodel import Session, col, select

from jobs.reads.account_views import TokenView, UserView
from jobs.states import TokenState
from jobs.storage.models import ApiToken, LoginSession, User, now

SESSION_IDLE = timedelta(hours=12)
SESSION_LONGEST = timedelta(days=14)


def users(session: Session) -> list[User]:
    """List the users by name."""
    return list(session.exec(select(User).order_by(User.name)).all())


def user_view(row: User) -> UserView:
    """Describe a user."""
    return UserView.model_validate(row.model_dump() | {"disabled": row.disabled_at is not None})


def tokens(session: Session) -> list[ApiToken]:
    """List the API tokens, newest first."""
    return list(session.exec(select(ApiToken).order_by(col(ApiToken.id).desc())).all())


def api_token_state(row: ApiToken) -> TokenState:
    """Give a token's state; tokens of older versions have no expiry time."""
    if row.revoked_at is not None:
        return TokenState.REVOKED
    is_over = row.expires_at is not None and row.expires_at <= now()
    return TokenState.EXPIRED if is_over else TokenState.ACTIVE


def api_token_view(row: ApiToken) -> TokenView:
    """Describe a token."""
    return TokenView.model_validate(row.model_dump() | {"state": api_token_state(row)})


def is_open(row: LoginSession) -> bool:
    """Whether a session is still valid."""
    moment = now()
    return moment - row.last_seen_at <= SESSION_IDLE and moment - row.created_at <= SESSION_LONGEST


def sessions_of(session: Session, user: User) -> list[LoginSession]:
    """List a user's open sessions, the most recently used first."""
    rows = session.exec(
        select(LoginSession)
        .where(LoginSession.user_id == user.id)
        .order_by(col(LoginSession.last_seen_at).desc())
    ).all()
    return [row for row in rows if is_open(row)]
