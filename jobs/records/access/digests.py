"""How random secrets are stored."""

import hashlib


def session_digest(cookie: str) -> str:
    """Hash a session's cookie for storage.

    Not as other secrets: sessions opened before the router kept their cookies from apps, which may
    know them, are not found any more.
    """
    return digest(f"session:{cookie}")


def digest(secret: str) -> str:
    """Hash a random secret for storage; it is long enough to need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()
