"""Problems with a repository's token: refused, expired, or expiring soon. Pure."""

from datetime import datetime, timedelta

WARN_BEFORE = timedelta(days=14)


def token_problem(told: str | None, expires_at: datetime | None, *, at: datetime) -> str | None:
    """Describe the problem with a token; None if there is none.

    Args:
        told: the message of GitHub or the git server when it last refused the token.
        expires_at: the token's expiry time, according to GitHub.
        at: the present time.
    """
    if told or expires_at is None or expires_at - at > WARN_BEFORE:
        return told
    word = "expires" if expires_at > at else "expired"
    return f"the token {word} on {expires_at:%Y-%m-%d}; make another one at GitHub and set it here"
