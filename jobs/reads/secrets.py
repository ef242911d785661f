"""Opens the sealed secrets of repositories, where they are used."""

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
    """Give a repository's own token; None if it has none."""
    statement = select(RepositorySecret).where(
        RepositorySecret.repository_id == repository_id, RepositorySecret.kind == SecretKind.TOKEN
    )
    row = session.exec(statement).first()
    return vault.open(row.sealed) if row else None


def api_token(own: SecretStr | None, fallback: SecretStr) -> SecretStr | None:
    """Choose the token for GitHub's API: the repository's own, or the global one.

    The host that the repository is fetched from does not matter: both tokens are meant for the host
    of the API URL.
    """
    return own if own is not None else (fallback if fallback.get_secret_value() else None)


def git_token(
    own: SecretStr | None, fallback: SecretStr, *, git_url: str, api_url: str
) -> SecretStr | None:
    """Choose the token for fetching: the repository's own, or the global one on GitHub.

    The global token is sent only to the GitHub host of the API URL.
    """
    if own is not None:
        return own
    is_meant = bool(fallback.get_secret_value()) and is_on_github(git_url, api_url)
    return fallback if is_meant else None


def webhook_secrets(session: Session, repository_id: int, vault: Vault) -> list[SecretStr]:
    """Give the valid webhook secrets of a repository, the newest first."""
    return [vault.open(row.sealed) for row in valid_webhook_secrets(session, [repository_id])]


NOBODY = -1  # owner of the decoy secrets, which only equalise the time


def claimed_webhook_secrets(
    session: Session, vault: Vault, *, github_id: int | None, full_name: str
) -> dict[int, list[SecretStr]]:
    """Give the webhook secrets that a delivery may be signed with, by the repository's id.

    The number of secrets and the time to get them are always the same, so that they do not reveal
    whether a repository is known. The number is that for two repositories (one found by id, one by
    name), each with as many secrets as any repository has. `NOBODY` owns the decoys that make up
    the number; nothing is ever signed with those.
    """
    sealed = repositories.claimed_webhook_secrets(session, github_id=github_id, full_name=full_name)
    found: dict[int, list[SecretStr]] = defaultdict(list)
    for owner, secret in sealed:
        found[owner].append(vault.open(secret))
    missing = 2 * repositories.most_webhook_secrets(session) - len(sealed)
    found[NOBODY] = [_unused(vault) for _ in range(missing)]
    return found


def _unused(vault: Vault) -> SecretStr:
    """Make a random decoy secret, in the time that opening a real one takes."""
    secret = SecretStr(secrets.token_hex(32))
    vault.seal(secret)
    return secret
