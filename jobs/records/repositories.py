"""Repositories and their secrets: the token and the webhook secrets."""

import secrets
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlmodel import Session, col, delete, select

from jobs.errors import ConfigurationError, ConflictError, Mistake, NotFoundError
from jobs.reads.repositories import valid_webhook_secrets
from jobs.records.audit import Tag, note
from jobs.records.repository_identity import ask_anew
from jobs.records.statuses import tell_again
from jobs.rules.actors import Actor
from jobs.rules.naming import hooks_page
from jobs.settings import Settings
from jobs.storage.models import App, Repository, RepositorySecret, SecretKind, TokenUse, now
from jobs.storage.vault import Vault

SHORTEST_SECRET = 16
LONGEST_SECRET = 200
# Every delivery, whoever sends it, is checked against each of them.
MOST_SECRETS = 5
DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_PROBLEM = 500


def find_repository(session: Session, repository_id: int) -> Repository:
    """Give a repository.

    Raises:
        NotFoundError: no repository has that id.
    """
    repository = session.get(Repository, repository_id)
    if repository is None:
        raise NotFoundError(f"there is no repository with the id {repository_id}")
    return repository


def has_apps(session: Session, repository: Repository) -> bool:
    """Whether an app is deployed from a repository."""
    statement = select(App.id).where(App.repository_id == repository.id).limit(1)
    return session.exec(statement).first() is not None


def remove_repository(session: Session, repository: Repository, actor: Actor) -> None:
    """Remove a repository with its token and secrets; the watcher removes the copy of its source.

    Its deliveries and audit events stay.

    Raises:
        ConflictError: an app is deployed from it.
    """
    if has_apps(session, repository):
        raise ConflictError(
            f"{repository.full_name} has apps; it goes when the last of them is removed"
        )
    told = {
        "full_name": repository.full_name,
        "git_url": repository.git_url,
        "github_id": repository.github_id,
    }
    note(session, Tag.REPOSITORY_REMOVED, actor, _target(repository), before=told)
    session.delete(repository)


def removed_notes(full_name: str, settings: Settings) -> list[str]:
    """Say in sentences what is removed with a repository, and what is left to do."""
    page = hooks_page(full_name, settings.github_api_url)
    return [
        f"with {full_name} go its token, its webhook secret and the copy of its source",
        f"remove its webhook on GitHub as well: its deliveries are refused from now on ({page})",
    ]


# --- The token -------------------------------------------------------------------------------


def set_repository_token(
    session: Session, repository: Repository, token: SecretStr, actor: Actor, *, vault: Vault
) -> None:
    """Store a repository's token, sealed; an empty token removes it."""
    session.exec(
        delete(RepositorySecret).where(
            col(RepositorySecret.repository_id) == repository.id,
            col(RepositorySecret.kind) == SecretKind.TOKEN,
        )
    )
    is_set = bool(token.get_secret_value())
    if is_set:
        _keep(session, repository, SecretKind.TOKEN, token, vault=vault)
        tell_again(session, repository.id or 0)
    repository.token_problem = repository.token_problem_of = repository.token_expires_at = None
    ask_anew(repository)
    note(session, Tag.REPOSITORY_TOKEN_SET, actor, _target(repository), set=is_set)


def note_token_refused(session: Session, repository_id: int, use: TokenUse, problem: str) -> None:
    """Store the message with which GitHub or the git server refused a repository's token."""
    repository = session.get(Repository, repository_id)
    if repository is not None:  # it may have been removed in the meantime
        repository.token_problem, repository.token_problem_of = problem[:LONGEST_PROBLEM], use


def note_token_works(
    session: Session, repository_id: int, use: TokenUse, *, expires_at: datetime | None = None
) -> None:
    """Clear the token's problem if it was about the same use.

    Args:
        expires_at: the token's expiry time, if GitHub has just reported it.
    """
    repository = session.get(Repository, repository_id)
    if repository is None:  # it was removed in the meantime
        return
    if repository.token_problem is not None and repository.token_problem_of in {use, None}:
        repository.token_problem = repository.token_problem_of = None
    if expires_at is not None and repository.token_expires_at != expires_at:
        repository.token_expires_at = expires_at


# --- The webhook secret ----------------------------------------------------------------------


def make_webhook_secret(session: Session, repository: Repository, *, vault: Vault) -> SecretStr:
    """Generate a webhook secret for a repository."""
    secret = SecretStr(secrets.token_hex(32))
    _keep(session, repository, SecretKind.WEBHOOK, secret, vault=vault)
    return secret


def rotate_webhook_secret(
    session: Session,
    repository: Repository,
    actor: Actor,
    *,
    vault: Vault,
    overlap: timedelta = DEFAULT_OVERLAP,
    own: SecretStr | None = None,
) -> SecretStr:
    """Give a repository a new webhook secret; older ones stay valid for a while.

    Args:
        overlap: how long older secrets stay valid; zero if somebody else knows the old secret.
        own: the caller's secret; None to generate one.

    Raises:
        ConfigurationError: the caller's secret is not acceptable.
        ConflictError: too many secrets are already valid.
    """
    if own is not None:
        _ensure_fit(own)
    forget_expired(session)
    until, older = now() + overlap, _webhook_secrets(session, repository)
    if len(older) >= MOST_SECRETS and overlap:
        raise ConflictError(
            f"{len(older)} webhook secrets of {repository.full_name} verify already; "
            "end the older ones first (`keystone webhook-secret finish`)"
        )
    for row in older:
        row.expires_at = min(row.expires_at or until, until)
    if own is None:
        secret = make_webhook_secret(session, repository, vault=vault)
    else:
        secret = own
        _keep(session, repository, SecretKind.WEBHOOK, own, vault=vault)
    told = {"own": own is not None, "previous_until": until.isoformat(timespec="seconds")}
    note(session, Tag.WEBHOOK_SECRET_ROTATED, actor, _target(repository), **told)
    return secret


def finish_webhook_rotation(session: Session, repository: Repository, actor: Actor) -> int:
    """Invalidate the older webhook secrets at once; return their number.

    Raises:
        ConflictError: only the newest secret is valid.
    """
    forget_expired(session)
    older = [row for row in _webhook_secrets(session, repository) if row.expires_at is not None]
    if not older:
        raise ConflictError(f"{repository.full_name} has one webhook secret only; nothing to end")
    for row in older:
        session.delete(row)
    note(session, Tag.WEBHOOK_SECRET_FINISHED, actor, _target(repository), ended=len(older))
    return len(older)


def drop_webhook_secrets(
    session: Session, repository: Repository, actor: Actor, *, fallback: SecretStr
) -> None:
    """Remove a repository's own webhook secrets, so that the fallback is used instead.

    Args:
        fallback: KEYSTONE_WEBHOOK_SECRET.

    Raises:
        ConflictError: the fallback is not set, so no delivery could be verified.
    """
    if not fallback.get_secret_value():
        raise ConflictError(
            f"no delivery of {repository.full_name} could be verified without its own webhook "
            "secret: set KEYSTONE_WEBHOOK_SECRET and start Keystone again first"
        )
    forget_expired(session)
    own = _webhook_secrets(session, repository)
    if not own:
        return
    for row in own:
        session.delete(row)
    note(session, Tag.WEBHOOK_SECRET_DROPPED, actor, _target(repository), dropped=len(own))


def forget_expired(session: Session) -> None:
    """Remove every expired secret; an expired secret verifies nothing any more."""
    over = col(RepositorySecret.expires_at) <= now()
    session.exec(delete(RepositorySecret).where(over))


def _webhook_secrets(session: Session, repository: Repository) -> list[RepositorySecret]:
    return valid_webhook_secrets(session, [repository.id])


def _ensure_fit(secret: SecretStr) -> None:
    value = secret.get_secret_value()
    if len(value) < SHORTEST_SECRET:
        told = (
            f"give at least {SHORTEST_SECRET} characters; whoever guesses it can deploy "
            "what they like"
        )
        raise ConfigurationError(Mistake("secret", told))
    is_plain = value.isascii() and value.isprintable() and value == value.strip()
    if len(value) > LONGEST_SECRET or not is_plain:
        # GitHub refuses some non-ASCII characters, and a form may encode others differently.
        told = (
            f"give at most {LONGEST_SECRET} ASCII characters on one line, without spaces "
            "at its ends"
        )
        raise ConfigurationError(Mistake("secret", told))


def _keep(
    session: Session, repository: Repository, kind: SecretKind, value: SecretStr, *, vault: Vault
) -> None:
    row = RepositorySecret(repository_id=repository.id or 0, kind=kind, sealed=vault.seal(value))
    session.add(row)


def _target(repository: Repository) -> str:
    return f"repository:{repository.id}"
