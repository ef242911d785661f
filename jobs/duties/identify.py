"""Asks GitHub for the id and the current name of each repository.

This is optional: a repository that GitHub cannot be asked about is identified by the name it was
added with, and by the id that an operator sets.
"""

import logging
from datetime import timedelta

from pydantic import SecretStr
from sqlmodel import Session

from jobs.adapters.ports import Forge
from jobs.errors import ConfigurationError, GitHubError, GitHubNotFoundError
from jobs.processes.runtime import Runtime
from jobs.reads.repositories import has_repository_token
from jobs.reads.secrets import git_token, repository_token
from jobs.records.repository_identity import (
    AFTER_FAILURE,
    AFTER_REFUSAL,
    ask_later,
    is_anybodys_turn,
    learn,
    pause_those_without_token,
    take_turn,
)
from jobs.rules.naming import github_address, is_on_github
from jobs.rules.repository_values import ForgeRepository, KnownRepository
from jobs.settings import WorkerSettings
from jobs.states import IdentitySource
from jobs.storage.models import Repository, now

logger = logging.getLogger(__name__)


def identify_next(runtime: Runtime[WorkerSettings], forge: Forge) -> bool:
    """Ask about the repository that is due; False when none is.

    It asks about one at a time, so that a watcher that must stop waits for a hanging GitHub at most
    once.
    """
    # Usually none is due: check that first, without blocking writers.
    with runtime.database.reading() as session:
        if not is_anybodys_turn(session):
            return False
    with runtime.database.writing() as session:
        repository = take_turn(session)
    if repository is not None:
        _identify(runtime, forge, repository)
    return repository is not None


def _identify(runtime: Runtime[WorkerSettings], forge: Forge, repository: Repository) -> None:
    """Ask about a repository, and store the answer or the reason why there is none."""
    try:
        told = _ask(runtime, forge, repository)
    except (ConfigurationError, GitHubError) as exc:
        with runtime.database.writing() as session:
            _note_failure(session, repository, exc)
        return
    github = github_address(runtime.settings.github_api_url)
    with runtime.database.writing() as session:
        if told is None:
            problem = repository.identity_problem if repository.is_name_claimed else ""
            ask_later(session, repository, after=AFTER_REFUSAL, problem=problem)
        else:
            learn(
                session,
                repository,
                github_id=told.github_id,
                full_name=told.full_name,
                github=github,
            )


def _ask(
    runtime: Runtime[WorkerSettings], forge: Forge, repository: Repository
) -> KnownRepository | None:
    """Ask about a repository; None when GitHub may not be asked.

    Raises:
        ConfigurationError: the repository's token cannot be decrypted.
        GitHubError: GitHub refused, asked for a pause or could not be reached.
    """
    token = _token(runtime, repository)
    is_public_address = is_on_github(repository.git_url, runtime.settings.github_api_url)
    # A name that comes only from a delivery proves nothing, whatever GitHub answers about it.
    is_nameless = repository.is_name_claimed and repository.github_id is None
    if is_nameless or (token is None and not is_public_address):
        return None
    address = ForgeRepository(repository.full_name, repository.github_id)
    try:
        return forge.identify(address, token)
    except GitHubNotFoundError:
        if repository.identity_from is not IdentitySource.GITHUB:
            raise
        # The repository may have been deleted and created again under the same name.
        return forge.identify(ForgeRepository(repository.full_name), token)


def _token(runtime: Runtime[WorkerSettings], repository: Repository) -> SecretStr | None:
    """Return the repository's own token, or the global one where that may be used."""
    settings = runtime.settings
    with runtime.database.reading() as session:
        own = repository_token(session, repository.id or 0, runtime.vault)
    return git_token(
        own,
        settings.github_token,
        git_url=repository.git_url,
        api_url=settings.github_api_url,
    )


def _note_failure(
    session: Session, repository: Repository, error: ConfigurationError | GitHubError
) -> None:
    told = f"the repository's GitHub id is unknown: {error}"
    extra = {"action": "identity_unknown"}
    if not isinstance(error, GitHubError) or error.permanent:
        logger.info("%s: %s", repository.full_name, told, extra=extra)
        ask_later(session, repository, after=AFTER_REFUSAL, problem=told)
        return
    logger.debug("%s: %s", repository.full_name, told, extra=extra)
    if error.retry_after_s is None:
        ask_later(session, repository, after=AFTER_FAILURE)
        return
    pause = timedelta(seconds=error.retry_after_s)
    ask_later(session, repository, after=pause, is_paused=True)
    if not has_repository_token(session, repository):
        pause_those_without_token(session, until=now() + pause)
