"""Users: their names, roles and passwords. At least one admin can always log in."""

from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY
from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.errors import ConfigurationError, ConflictError, Mistake, NotFoundError
from jobs.records.audit import Tag, note
from jobs.records.logins import drop_sessions
from jobs.rules.actors import Actor
from jobs.rules.field_types import NAME, NAME_WORDS
from jobs.rules.passwords import weakness
from jobs.states import Role
from jobs.storage.models import User, now

# argon2id, 64 MiB, three passes: the second recommended option of RFC 9106.
_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
# Verified if the user does not exist, so that the response time does not reveal that. It is the
# hash of 32 random bytes that were thrown away. It is a constant, because hashing here would delay
# the start of every process by 0.2 s.
_NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$i8w9yymOi3CpenH59glhDw"
    "$UD4M9hDcapPr5aHtSnSjpCst5HaKWLP38FvlRP7gpqQ"
)


@dataclass(frozen=True)
class PasswordHash:
    """A password that was hashed before the transaction that stores it."""

    text: str


def hash_password(name: str, password: SecretStr) -> PasswordHash:
    """Hash a user's password. It takes 0.2 s, so call it before a writing transaction.

    Raises:
        ConfigurationError: the password is not acceptable.
    """
    return PasswordHash(_hash(name, password))


def add_user(
    session: Session, *, name: str, role: Role, password: SecretStr | PasswordHash, actor: Actor
) -> User:
    """Add a user.

    Raises:
        ConfigurationError: the name or the password is not acceptable.
        ConflictError: a user has that name already.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(Mistake("name", NAME_WORDS))
    # Takes 0.2 s, so do it before the first statement, which takes SQLite's write lock.
    password_hash = _hash(name, password)
    if session.exec(select(User).where(User.name == name)).first() is not None:
        raise ConflictError(f"there is a user named {name} already")
    user = User(name=name, role=role, password_hash=password_hash)
    session.add(user)
    note(session, Tag.USER_CREATED, actor, f"user:{name}", role=role)
    return user


def set_password(
    session: Session,
    name: str,
    password: SecretStr | PasswordHash,
    actor: Actor,
    *,
    keep: str = "",
) -> None:
    """Change a user's password and end the user's sessions.

    Args:
        keep: the cookie of the session to keep, which requests the change.

    Raises:
        ConfigurationError: the password is not acceptable.
        NotFoundError: there is no such user.
    """
    password_hash = _hash(name, password)
    user = find_user(session, name)
    user.password_hash = password_hash
    ended = drop_sessions(session, user, keep=keep)
    told = {"password": "changed", "sessions_ended": ended}
    note(session, Tag.USER_CHANGED, actor, f"user:{name}", **told)


def remove_user(session: Session, name: str, actor: Actor) -> None:
    """Remove a user and the user's sessions.

    Raises:
        ConflictError: the user is the last admin.
        NotFoundError: there is no such user.
    """
    user = find_user(session, name)
    _ensure_not_last_admin(session, user)
    note(session, Tag.USER_REMOVED, actor, f"user:{name}", **_standing(user))
    session.delete(user)


def change_user(
    session: Session, name: str, *, role: Role | None, disabled: bool | None, actor: Actor
) -> User:
    """Change a user's role, or whether the user may log in; None leaves it unchanged.

    Both take effect from the next request on; disabling a user ends all sessions of the user.

    Raises:
        ConflictError: the user is the last admin.
        NotFoundError: there is no such user.
    """
    user = find_user(session, name)
    if disabled or role not in {None, Role.ADMIN}:
        _ensure_not_last_admin(session, user)
    before = _standing(user)
    user.role = role or user.role
    if disabled is not None:
        user.disabled_at = (user.disabled_at or now()) if disabled else None
    if disabled:
        drop_sessions(session, user)
    if (after := _standing(user)) != before:
        note(session, Tag.USER_CHANGED, actor, f"user:{name}", before=before, after=after)
    return user


def _standing(user: User) -> dict[str, object]:
    return {"role": user.role, "disabled": user.disabled_at is not None}


def _ensure_not_last_admin(session: Session, user: User) -> None:
    """Keep at least one admin who can log in."""
    admins = select(User).where(User.role == Role.ADMIN, col(User.disabled_at).is_(None))
    able = {row.id for row in session.exec(admins).all()}
    if able == {user.id}:
        raise ConflictError(f"{user.name} is the last admin; add another one first")


def find_user(session: Session, name: str) -> User:
    """Give the user of that name.

    Raises:
        NotFoundError: no user has that name.
    """
    user = session.exec(select(User).where(User.name == name)).first()
    if user is None:
        raise NotFoundError(f"there is no user named {name!r}")
    return user


def check_password(user: User | None, password: SecretStr) -> bool:
    """Whether the password is the user's; takes the same time if there is no such user.

    Costs about 0.2 s and 64 MiB: call it outside a transaction, with few calls at a time.
    """
    try:
        _hasher.verify(user.password_hash if user else _NOBODY, password.get_secret_value())
    except (VerifyMismatchError, InvalidHashError):
        return False
    return user is not None and user.disabled_at is None


def is_as_it_was(session: Session, user: User) -> bool:
    """Whether the checked password is still the user's, and the user may still log in.

    Checking takes time, and the password may have been changed meanwhile for a good reason.
    """
    now_ = session.get(User, user.id, populate_existing=True)
    return (
        now_ is not None and now_.password_hash == user.password_hash and now_.disabled_at is None
    )


def _hash(name: str, password: SecretStr | PasswordHash) -> str:
    if isinstance(password, PasswordHash):
        return password.text
    plain = password.get_secret_value()
    if reason := weakness(plain, [name]):
        raise ConfigurationError(Mistake("password", reason))
    return _hasher.hash(plain)
