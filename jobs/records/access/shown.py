"""What may be shown of a session: everything but what it is known by."""

from jobs.models import LoginSession
from jobs.records.access.digests import session_digest
from jobs.views import SessionView


def session_view(row: LoginSession, *, cookie: str = "") -> SessionView:
    """Describe a session.

    Args:
        cookie: that of the browser which asks.
    """
    return SessionView.model_validate(
        row.model_dump() | {"is_current": row.hashed == session_digest(cookie)}
    )
