"""Checks the keys and tokens for `keystone doctor`. Read-only, and shows no secret."""

from dataclasses import dataclass

from sqlmodel import Session

from jobs.reads.repositories import repository_views
from jobs.records.vault_keys import complaint, count_by_key, ensure_key_is_kept
from jobs.settings import Settings, split_keys
from jobs.storage.vault import KEY_FILE, Vault


@dataclass(frozen=True)
class Health:
    """A check's result and its fix; an empty `fix` means that nothing needs to be done."""

    found: str
    fix: str = ""


def keys_health(session: Session, settings: Settings) -> Health:
    """Report how many stored secrets each key encrypts, by the key's fingerprint.

    Raises:
        ConfigurationError: the key is missing or unusable.
        StorageError: the key file cannot be read.
    """
    ensure_key_is_kept(session, settings)
    if not split_keys(settings.secret_key) and not (settings.data_dir / KEY_FILE).exists():
        return Health("none yet: `keystone up` makes one")
    vault = Vault.for_reading(settings.secret_key, settings.data_dir)
    counts, (newest, *older) = count_by_key(session, vault), vault.fingerprints
    told = [f"{newest} seals {counts[newest]}", *(f"{key} (older) {counts[key]}" for key in older)]
    if lost := counts[None]:
        fix = complaint(session, lost, vault, settings)
        return Health(", ".join([*told, f"another key, which is not here, {lost}"]), fix)
    return Health(", ".join(told))


def tokens_health(session: Session) -> Health:
    """Report the repositories whose token was refused or expires soon."""
    views = repository_views(session)
    problems = [f"{view.full_name}: {view.token_problem}" for view in views if view.token_problem]
    if problems:
        return Health("; ".join(problems), "set another: `keystone app set APP --token-stdin`")
    return Health(f"{sum(view.token_set for view in views)} of their own, none refused or ending")
