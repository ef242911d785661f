"""Sends the outbox of commit statuses to GitHub. A failure only delays a status."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlmodel import Session, col, select

from jobs.adapters.ports import Forge
from jobs.errors import (
    ConfigurationError,
    GitHubContentError,
    GitHubDeniedError,
    GitHubError,
    GitHubNotFoundError,
    GitHubTokenError,
)
from jobs.processes.runtime import Runtime
from jobs.reads.secrets import api_token, repository_token
from jobs.records.repositories import note_token_refused, note_token_works
from jobs.records.repository_identity import ask_soon
from jobs.records.statuses import NO_TOKEN, OVERTAKEN, postpone, settle
from jobs.rules.repository_values import ForgeRepository, StatusPost
from jobs.settings import WorkerSettings
from jobs.states import GitHubState, bare_description
from jobs.storage.models import App, CommitStatus, Deployment, Repository, TokenUse, now

logger = logging.getLogger(__name__)

BATCH = 20
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=15)
# About a day with these delays.
MOST_ATTEMPTS = 100
# These take 75 s; by then GitHub has been asked again for the repository's id, if possible.
DOUBTED_ATTEMPTS = 4
# Errors that are the token's fault, or that another token could avoid.
REFUSALS = (GitHubTokenError, GitHubDeniedError)


@dataclass(frozen=True)
class Letter:
    """One status that is due, with everything needed to send it."""

    status_id: int
    attempts: int
    repository_id: int
    post: StatusPost
    token: SecretStr | None
    problem: str  # why there is no token
    is_overtaken: bool
    bare: str  # the description without any text from outside Keystone


def send_due(runtime: Runtime[WorkerSettings], forge: Forge) -> int:
    """Send one batch of the due statuses, oldest first.

    Returns:
        How many were handled; 0 means that none is due.
    """
    with runtime.database.reading() as session:
        letters = [_letter(session, runtime, row) for row in _due(session)]
    for letter in letters:
        _send(runtime, forge, letter)
    return len(letters)


def _due(session: Session) -> list[CommitStatus]:
    statement = (
        select(CommitStatus)
        .where(col(CommitStatus.next_attempt_at) <= now())
        .order_by(col(CommitStatus.id))
        .limit(BATCH)
    )
    return list(session.exec(statement).all())


def _letter(session: Session, runtime: Runtime[WorkerSettings], status: CommitStatus) -> Letter:
    deployment = session.get_one(Deployment, status.deployment_id)
    app = session.get_one(App, deployment.app_id)
    repository = session.get_one(Repository, app.repository_id)
    settings = runtime.settings
    token, problem = _token(session, runtime, repository)
    return Letter(
        status_id=status.id or 0,
        attempts=status.attempts,
        repository_id=app.repository_id,
        post=StatusPost(
            repository=ForgeRepository(repository.full_name, repository.github_id),
            sha=deployment.commit_sha,
            state=status.state,
            description=status.description,
            context=f"keystone/{app.name}",
            target_url=f"{settings.effective_public_url}/deployments/{deployment.id}",
        ),
        token=token,
        problem=problem,
        is_overtaken=_is_overtaken(session, status, deployment),
        bare=bare_description(deployment.number, status.state),
    )


def _token(
    session: Session, runtime: Runtime[WorkerSettings], repository: Repository
) -> tuple[SecretStr | None, str]:
    """Find a repository's token; one that cannot be decrypted does not block other statuses."""
    try:
        own = repository_token(session, repository.id or 0, runtime.vault)
    except ConfigurationError as exc:
        return None, str(exc)
    return api_token(own, runtime.settings.github_token), NO_TOKEN


def _is_overtaken(session: Session, status: CommitStatus, deployment: Deployment) -> bool:
    """Whether this status would overwrite or repeat a later status of the same commit.

    Before its first attempt, a status is skipped only when it and the next one are both `pending`:
    so people see a deployment begin.
    """
    statement = (
        select(CommitStatus.state)
        .join(Deployment, col(Deployment.id) == CommitStatus.deployment_id)
        .where(
            Deployment.app_id == deployment.app_id,
            Deployment.commit_sha == deployment.commit_sha,
            col(CommitStatus.id) > status.id,
        )
        .order_by(col(CommitStatus.id))
        .limit(1)
    )
    later = session.exec(statement).first()
    return later is not None and (
        status.attempts > 0 or (status.state is later and later is GitHubState.PENDING)
    )


def _send(runtime: Runtime[WorkerSettings], forge: Forge, letter: Letter) -> None:
    database = runtime.database
    if letter.is_overtaken or letter.token is None:
        with database.writing() as session:
            settle(session, letter.status_id, error=OVERTAKEN if letter.token else letter.problem)
        return
    try:
        expires_at = _post(forge, letter.post, letter.token, bare=letter.bare)
    except GitHubError as exc:
        logger.warning("a commit status was not posted: %s", exc, extra={"action": "status_failed"})
        with database.writing() as session:
            _note_failure(session, letter, exc)
        return
    with database.writing() as session:
        settle(session, letter.status_id, posted_at=now())
        note_token_works(session, letter.repository_id, TokenUse.API, expires_at=expires_at)


def _post(forge: Forge, post: StatusPost, token: SecretStr, *, bare: str) -> datetime | None:
    """Post a status; if GitHub rejects the description, post the state with a bare one."""
    try:
        return forge.post_status(post, token)
    except GitHubContentError as exc:
        logger.warning("a commit status is sent without its reason: %s", exc)
        return forge.post_status(replace(post, description=bare), token)


def _note_failure(session: Session, letter: Letter, error: GitHubError) -> None:
    repository = session.get(Repository, letter.repository_id)
    if repository is not None and _is_doubtful(letter, error):
        ask_soon(repository)
        postpone(
            session, letter.status_id, until=next_attempt(letter.attempts, now()), error=str(error)
        )
        return
    if error.permanent or letter.attempts + 1 >= MOST_ATTEMPTS:
        settle(session, letter.status_id, error=str(error))
        if isinstance(error, REFUSALS):
            note_token_refused(session, letter.repository_id, TokenUse.API, str(error))
        return
    until = next_attempt(letter.attempts, now(), retry_after_s=error.retry_after_s)
    postpone(session, letter.status_id, until=until, error=str(error))


def _is_doubtful(letter: Letter, error: GitHubError) -> bool:
    """Whether the repository may have been deleted and created again with a new id."""
    is_by_id = letter.post.repository.github_id is not None
    is_new = letter.attempts < DOUBTED_ATTEMPTS
    return is_by_id and is_new and isinstance(error, GitHubNotFoundError)


def next_attempt(
    attempts: int, moment: datetime, *, retry_after_s: float | None = None
) -> datetime:
    """Return when to retry after so many failed attempts; a wait that GitHub asks for comes first.

    The delay doubles from `FIRST_DELAY` up to `LONGEST_DELAY`; GitHub's is kept within 1 s to 1 h.
    """
    if retry_after_s is not None:
        return moment + min(timedelta(seconds=max(retry_after_s, 1)), timedelta(hours=1))
    doubled: int = 2 ** min(attempts, 16)
    return moment + min(FIRST_DELAY * doubled, LONGEST_DELAY)
