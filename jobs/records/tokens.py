"""API tokens for programs, each with a role and an expiry time."""

import hashlib
import secrets
from datetime import timedelta

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.errors import ConfigurationError, ConflictError, Mistake, NotFoundError
from jobs.reads.people import api_token_state
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.rules.field_types import NAME, NAME_WORDS
from jobs.states import Role, TokenState
from jobs.storage.models import ApiToken, now

TOKEN_PREFIX = "ks_"  # noqa: S105 — lets leak scanners recognise one
# A forgotten token must expire by itself some day; a year is long enough to disturb no pipeline.
DEFAULT_DAYS = 365
LONGEST_DAYS = 3650


def create_api_token(
    session: Session, *, name: str, role: Role, actor: Actor, days: int = DEFAULT_DAYS
) -> SecretStr:
    """Make an API token and return its value; an ended token of the same name is removed.

    Args:
        days: how long the token is valid, 1 to `LONGEST_DAYS`.

    Raises:
        ConfigurationError: the name or the number of days is not allowed.
        ConflictError: an active token has that name.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(Mistake("name", NAME_WORDS))
    if not 1 <= days <= LONGEST_DAYS:
        bounds = f"use 1 to {LONGEST_DAYS} days"
        raise ConfigurationError(Mistake("expires_in_days", bounds, called="expires"))
    _free_name(session, name)
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ends = now() + timedelta(days=days)
    row = ApiToken(
        name=name, hashed=digest(token), role=role, created_by=str(actor), expires_at=ends
    )
    session.add(row)
    told = {"role": role, "expires_at": ends.isoformat(timespec="seconds")}
    note(session, Tag.TOKEN_CREATED, actor, f"token:{name}", **told)
    return SecretStr(token)


def _free_name(session: Session, name: str) -> None:
    old = session.exec(select(ApiToken).where(ApiToken.name == name)).first()
    if old is None:
        return
    if api_token_state(old) is TokenState.ACTIVE:
        raise ConflictError(f"there is a token named {name} already; revoke it first")
    session.delete(old)
    session.flush()


def find_api_token(session: Session, token: str) -> ApiToken | None:
    """Give the API token with that value, whatever its state; None if there is none."""
    return session.exec(select(ApiToken).where(ApiToken.hashed == digest(token))).first()


def touch_api_token(session: Session, token_id: int) -> None:
    """Store that a token was used."""
    row = session.get(ApiToken, token_id)
    if row is not None:
        row.last_used_at = now()


def revoke_api_token(session: Session, name: str, actor: Actor) -> ApiToken:
    """Revoke an API token, and return its row.

    Raises:
        NotFoundError: there is no such token, or it is already revoked.
    """
    row = session.exec(select(ApiToken).where(ApiToken.name == name)).first()
    if row is None or row.revoked_at is not None:
        raise NotFoundError(f"there is no token named {name!r}")
    row.revoked_at = now()
    note(session, Tag.TOKEN_REVOKED, actor, f"token:{name}", role=row.role)
    return row


def digest(secret: str) -> str:
    """Hash a random secret for storage; it is long enough to need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()
