"""The GitHub identity of a repository: set from GitHub's API or by an operator only.

A delivery is verified by a secret that its own repository holds, so its statements about that
repository are only claims of that party. A claim that differs from the known identity only makes
Keystone ask GitHub soon.
"""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, or_, select

from jobs.errors import ConflictError, Mistake
from jobs.records.audit import Tag, note
from jobs.records.statuses import tell_again
from jobs.rules.actors import KEYSTONE, Actor
from jobs.states import IdentitySource
from jobs.storage.models import App, Repository, RepositorySecret, SecretKind, now

CHECK_EVERY = timedelta(days=1)
AFTER_REFUSAL = timedelta(hours=1)
AFTER_FAILURE = timedelta(minutes=1)
# The shortest time between two questions about one repository, because the holder of its secret may
# send any number of claims.
NOT_SOONER = timedelta(minutes=1)
ANSWERED_WITHIN = timedelta(minutes=2)  # after this, assume that the asking process was killed
LONGEST_PROBLEM = 500
GIT_SUFFIX = ".git"


def note_claim(repository: Repository, *, github_id: int, full_name: str) -> None:
    """Schedule a question to GitHub soon if a verified delivery differs from what is known."""
    if (github_id, full_name) != (repository.github_id, repository.full_name):
        ask_soon(repository)


def ask_soon(repository: Repository) -> None:
    """Schedule a question to GitHub about the repository, now or when the pause is over."""
    moment, due_at = now(), repository.identity_due_at
    soon = max(moment, repository.identity_paused_until or moment)
    if due_at is not None:
        repository.identity_due_at = min(due_at, soon)


def ask_anew(repository: Repository) -> None:
    """Schedule a question to GitHub at once: the cause of a refusal or pause may be gone."""
    repository.identity_due_at = repository.identity_paused_until = None


# --- Asking GitHub ---------------------------------------------------------------------------


def is_anybodys_turn(session: Session) -> bool:
    """Whether a question to GitHub about a repository is due."""
    return _due(session) is not None


def take_turn(session: Session) -> Repository | None:
    """Claim the next repository to ask GitHub about; no other process gets it meanwhile."""
    repository = _due(session)
    if repository is not None:
        moment = now()
        repository.identity_paused_until = moment + NOT_SOONER
        repository.identity_due_at = moment + ANSWERED_WITHIN
    return repository


def _due(session: Session) -> Repository | None:
    due_at = col(Repository.identity_due_at)
    statement = (
        select(Repository)
        # Skip repositories that no app is deployed from.
        .where(col(Repository.id).in_(select(App.repository_id)))
        .where(or_(due_at.is_(None), due_at <= now()))
        .order_by(due_at.nulls_first(), col(Repository.id))
        .limit(1)
    )
    return session.exec(statement).first()


def ask_later(
    session: Session,
    asked: Repository,
    *,
    after: timedelta,
    problem: str | None = None,
    is_paused: bool = False,
) -> None:
    """Postpone a question that was not answered.

    Args:
        asked: the repository as it was when it was claimed.
        problem: a problem that a person must solve; empty if there is none; None to keep the
            earlier one.
        is_paused: whether GitHub asked for the pause, so that new claims do not shorten it.
    """
    repository = _unchanged(session, asked)
    if repository is None:
        return
    if problem is not None:
        repository.identity_problem = problem[:LONGEST_PROBLEM] or None
    if is_paused:
        repository.identity_paused_until = repository.identity_due_at = now() + after
    else:
        _ask_again(repository, asked, after)


def pause_those_without_token(session: Session, *, until: datetime) -> None:
    """Pause the questions about all repositories without a token of their own.

    These share the global token, or without one this machine's address, so GitHub's rate limit
    applies to all of them together.
    """
    with_token = select(RepositorySecret.repository_id).where(
        RepositorySecret.kind == SecretKind.TOKEN
    )
    due_at = col(Repository.identity_due_at)
    session.execute(
        update(Repository)
        .where(col(Repository.id).not_in(with_token), or_(due_at.is_(None), due_at < until))
        .values(identity_due_at=until, identity_paused_until=until)
    )


def _ask_again(repository: Repository, asked: Repository, after: timedelta) -> None:
    """Set the time of the next question, unless a claim has set an earlier time meanwhile."""
    if repository.identity_due_at == asked.identity_due_at:
        repository.identity_due_at = now() + after


def learn(
    session: Session, asked: Repository, *, github_id: int, full_name: str, github: str
) -> None:
    """Store GitHub's answer, unless another repository here has the same id or name.

    Args:
        asked: the repository as it was when it was claimed.
        github: the GitHub host, with its port if it has one.
    """
    repository = _unchanged(session, asked)
    if repository is None:
        return
    if (conflict := _conflict(session, repository, github_id, full_name)) is not None:
        ask_later(session, asked, after=AFTER_REFUSAL, problem=conflict)
        return
    if repository.github_id != github_id:
        _identified(session, repository, github_id, IdentitySource.GITHUB, KEYSTONE)
        # Send statuses again that GitHub refused under the old id.
        tell_again(session, repository.id or 0)
    if repository.full_name != full_name:
        _rename(session, repository, full_name, github=github)
    repository.is_name_claimed = False
    repository.identity_problem = None
    repository.identity_checked_at = now()
    _ask_again(repository, asked, CHECK_EVERY)


def _unchanged(session: Session, asked: Repository) -> Repository | None:
    """Give the row; None if it was removed, or changed by an operator, in the meantime."""
    repository = session.get(Repository, asked.id)
    if repository is None or _known_of(repository) != _known_of(asked):
        return None
    return repository


def _known_of(repository: Repository) -> tuple[object, ...]:
    return repository.github_id, repository.identity_from, repository.full_name


def _conflict(
    session: Session, repository: Repository, github_id: int, full_name: str
) -> str | None:
    """Say that another repository here has the id or the name; None if none has."""
    if (other := other_with_id(session, repository, github_id)) is not None:
        return (
            f"GitHub says that it is the same repository as {other.full_name} (id {github_id}); "
            "remove one of the two"
        )
    if _other(session, repository, col(Repository.name_key) == full_name.lower()) is not None:
        return (
            f"GitHub calls it {full_name} now, which is the name of another repository here; "
            "remove one of the two"
        )
    return None


def other_with_id(session: Session, repository: Repository, github_id: int) -> Repository | None:
    """Find another repository with the same GitHub id."""
    return _other(session, repository, col(Repository.github_id) == github_id)


def _other(
    session: Session, repository: Repository, condition: ColumnElement[bool]
) -> Repository | None:
    return session.exec(select(Repository).where(Repository.id != repository.id, condition)).first()


def _identified(
    session: Session,
    repository: Repository,
    github_id: int | None,
    source: IdentitySource | None,
    actor: Actor,
) -> None:
    told = {"before": repository.github_id, "after": github_id}
    note(session, Tag.REPOSITORY_IDENTIFIED, actor, f"repository:{repository.id}", **told)
    repository.github_id, repository.identity_from = github_id, source


def _rename(session: Session, repository: Repository, full_name: str, *, github: str) -> None:
    before, target = repository.full_name, f"repository:{repository.id}"
    note(session, Tag.REPOSITORY_RENAMED, KEYSTONE, target, before=before, after=full_name)
    repository.full_name, repository.name_key = full_name, full_name.lower()
    git_url = followed(repository.git_url, github, before, full_name)
    if git_url != repository.git_url:
        told = {"before": repository.git_url, "after": git_url}
        note(session, Tag.REPOSITORY_MOVED, KEYSTONE, target, **told)
        repository.git_url = git_url


def followed(git_url: str, github: str, before: str, after: str) -> str:
    """Give the new git URL of a renamed repository: another may take its old name at any time.

    Only a URL on GitHub's host with the old name changes; the server stays the same.
    """
    parts = urlsplit(git_url)
    suffix = GIT_SUFFIX if parts.path.endswith(GIT_SUFFIX) else ""
    path = parts.path.removesuffix(GIT_SUFFIX).strip("/")
    if parts.netloc.lower() != github or path.lower() != before.lower():
        return git_url
    return parts._replace(path=f"/{after}{suffix}").geturl()


# --- Set by an operator ----------------------------------------------------------------------


def set_github_id(
    session: Session, repository: Repository, github_id: int | None, actor: Actor
) -> None:
    """Store an operator's id, or remove the present one; then ask GitHub soon.

    Raises:
        ConflictError: another repository has that id.
    """
    if github_id is not None:
        other = other_with_id(session, repository, github_id)
        if other is not None:
            told = (
                f"{github_id} is the id of {other.full_name}; forget it there first "
                f"(`keystone repository set {other.full_name} --forget-github-id`)"
            )
            raise ConflictError(Mistake("github_id", told))
    source = None if github_id is None else IdentitySource.OPERATOR
    if (repository.github_id, repository.identity_from) != (github_id, source):
        _identified(session, repository, github_id, source, actor)
        tell_again(session, repository.id or 0)
    repository.identity_checked_at = None if github_id is None else now()
    repository.identity_problem = None
    ask_anew(repository)
