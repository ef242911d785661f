"""What is wrong with a repository's token, or soon will be. Pure."""

from datetime import datetime, timedelta

WARN_BEFORE = timedelta(days=14)


def token_problem(told: str | None, expires_at: datetime | None, *, at: datetime) -> str | None:
    """Say what has to be done about a token; None: nothing.

    Args:
        told: what GitHub or the git server said when it refused the token last.
        expires_at: until when GitHub said it works.
        at: the present moment.
    """
    if told or expires_at is None or expires_at - at > WARN_BEFORE:
        return told
    word = "expires" if expires_at > at else "expired"
    return f"the token {word} on {expires_at:%Y-%m-%d}; make another one at GitHub and set it here"
