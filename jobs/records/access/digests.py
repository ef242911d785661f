"""How random secrets are stored."""

import hashlib


def digest(secret: str) -> str:
    """Hash a random secret for storage; it is long enough to need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()
