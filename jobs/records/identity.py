"""The name that tells this Keystone from another one on the same engine or Redis."""

import secrets
import string

from sqlmodel import Session, select

from jobs.storage.models import Identity

LENGTH = 6


def known_identity(session: Session) -> str:
    """Give this Keystone's identity, "" before its first start; from an older schema, too."""
    return session.exec(select(Identity.name)).first() or ""


def ensure_identity(session: Session) -> str:
    """Give this Keystone's identity, made at its first start: six lower-case letters."""
    row = session.get(Identity, 1)
    if row is None:
        name = "".join(secrets.choice(string.ascii_lowercase) for _ in range(LENGTH))
        row = Identity(id=1, name=name)
        session.add(row)
    return row.name
