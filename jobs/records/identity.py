"""The name that tells this Keystone from another one on the same engine or Redis."""

import secrets
import string

from sqlmodel import Session

from jobs.models import Identity

LENGTH = 6


def ensure_identity(session: Session) -> str:
    """Give this Keystone's identity, made at its first start: six lower-case letters."""
    row = session.get(Identity, 1)
    if row is None:
        name = "".join(secrets.choice(string.ascii_lowercase) for _ in range(LENGTH))
        row = Identity(id=1, name=name)
        session.add(row)
    return row.name
