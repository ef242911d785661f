"""The name that distinguishes this Keystone from others on the same engine or Redis."""

import secrets
import string

from sqlmodel import Session, select

from jobs.storage.models import Identity

LENGTH = 6


def known_identity(session: Session) -> str:
    """Give this Keystone's identity; "" before its first start. Works with older schemas."""
    return session.exec(select(Identity.name)).first() or ""


def ensure_identity(session: Session) -> str:
    """Give this Keystone's identity, six lower-case letters; make it at the first start."""
    row = session.get(Identity, 1)
    if row is None:
        name = "".join(secrets.choice(string.ascii_lowercase) for _ in range(LENGTH))
        row = Identity(id=1, name=name)
        session.add(row)
    return row.name
