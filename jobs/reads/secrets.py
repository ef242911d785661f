"""Opening the sealed secrets of repositories, at the point where they are used."""

import secrets
from collections import defaultdict

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.reads import repositories
from jobs.reads.repositories import valid_webhook_secrets
from jobs.rules.naming import is_on_github
from jobs.storage.models import RepositorySecret, SecretKind
from jobs.storage.vault import Vault


def repository_token(session: Session, repository_id: int, vault: Vault) -> SecretStr | None:
    """Give a repository's own token, or None when it has none."""
    statement = select(RepositorySecret).where(
        RepositorySecret.repository_id == repository_id, RepositorySecret.kind == SecretKind.TOKEN
    )
    row = session.exec(statement).first()
    return vault.open(row.sealed) if row else None


def api_token(own: SecretStr | None, fallback: SecretStr) -> SecretStr | None:
    """Choose the token for GitHub's API: the repository's own, or the global one.

    Wherever the repository is fetched from: the API URL is the one host both are meant for.
    """
    return own if own is not None else (fallback if fallback.get_secret_value() else None)


def git_token(
    own: SecretStr | None, fallback: SecretStr, *, git_url: str, api_url: str
) -> SecretStr | None:
    """Choose the token for fetching: the repository's own, or the global one where it belongs.

    The global token goes to the GitHub host of the API URL and to no other.
    """
    if own is not None:
        return own
    is_meant = bool(fallback.get_secret_value()) and is_on_github(git_url, api_url)
    return fallback if is_meant else None


def webhook_secrets(session: Session, repository_id: int, vault: Vault) -> list[SecretStr]:
    """Give the webhook secrets of a repository that verify now, the newest first."""
    return [vault.open(row.sealed) for row in valid_webhook_secrets(session, [repository_id])]


NOBODY = -1  # owns the secrets that only take time


def claimed_webhook_secrets(
    session: Session, vault: Vault, *, github_id: int | None, full_name: str
) -> dict[int, list[SecretStr]]:
    """Give the webhook secrets that a delivery may be signed with, by the repository's id.

    There are always as many, and they cost as much to get, whether such a repository is known or
    not: an id and a name may be two repositories', and each may have as many secrets as any has.
    `NOBODY` owns the rest, with which nothing is ever signed.
    """
    sealed = repositories.claimed_webhook_secrets(session, github_id=github_id, full_name=full_name)
    found: dict[int, list[SecretStr]] = defaultdict(list)
    for owner, secret in sealed:
        found[owner].append(vault.open(secret))
    missing = 2 * repositories.most_webhook_secrets(session) - len(sealed)
    found[NOBODY] = [_unused(vault) for _ in range(missing)]
    return found


def _unused(vault: Vault) -> SecretStr:
    """Make a secret that nobody knows, in the time that it takes to open one."""
    secret = SecretStr(secrets.token_hex(32))
    vault.seal(secret)
    return secret
