"""Opening the sealed secrets of repositories, at the point where they are used."""

from collections import defaultdict
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.models import RepositorySecret, SecretKind
from jobs.naming import github_host
from jobs.repositories import valid_webhook_secrets
from jobs.vault import Vault


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
    if not fallback.get_secret_value() or urlsplit(git_url).hostname != github_host(api_url):
        return None
    return fallback


def webhook_secrets(session: Session, vault: Vault) -> dict[int, list[SecretStr]]:
    """Give the webhook secrets that verify now, the newest first, by the repository's id."""
    found: dict[int, list[SecretStr]] = defaultdict(list)
    for row in valid_webhook_secrets(session):
        found[row.repository_id].append(vault.open(row.sealed))
    return dict(found)
