"""The outbox of commit statuses, written in the transaction of the change that they report.

`jobs.duties.send_statuses` sends them.
"""

from datetime import datetime

from sqlmodel import Session, col, func, select

from jobs.states import github_description, github_state
from jobs.storage.models import App, CommitStatus, Deployment, now

OVERTAKEN = "not sent: a later status of the commit took its place"
NO_TOKEN = "not configured: the repository has no token"  # noqa: S105


def announce(session: Session, deployment: Deployment, words: str = "") -> None:
    """Add a commit status with the deployment's state, to be sent to GitHub.

    Do nothing while its commit is not known: a status belongs to a commit.
    """
    if not deployment.commit_sha or deployment.id is None:
        return
    session.add(
        CommitStatus(
            deployment_id=deployment.id,
            state=github_state(deployment.state),
            description=github_description(
                deployment.number, deployment.state, words or deployment.reason
            ),
        )
    )


def settle(
    session: Session, status_id: int, *, posted_at: datetime | None = None, error: str = ""
) -> None:
    """Mark a status as sent or given up; do nothing if its app, and so the status, is gone."""
    status = session.get(CommitStatus, status_id)
    if status is None:
        return
    status.attempts += 1
    status.posted_at = posted_at
    status.error = error[:500]
    status.next_attempt_at = None


def postpone(session: Session, status_id: int, *, until: datetime, error: str) -> None:
    """Schedule a status to be tried again later; do nothing if its app is gone."""
    status = session.get(CommitStatus, status_id)
    if status is None:
        return
    status.attempts += 1
    status.error = error[:500]
    status.next_attempt_at = until


def unsent(session: Session, app_id: int) -> int:
    """Count an app's commit statuses that are not sent yet."""
    statement = (
        select(func.count())
        .select_from(CommitStatus)
        .join(Deployment, col(Deployment.id) == CommitStatus.deployment_id)
        .where(Deployment.app_id == app_id, col(CommitStatus.next_attempt_at).is_not(None))
    )
    return session.exec(statement).one()


def tell_again(session: Session, repository_id: int) -> None:
    """Retry the last commit status of each app of a repository, if it was given up.

    Older statuses are not retried: they are outdated.
    """
    last_words = (
        select(func.max(CommitStatus.id))
        .join(Deployment, col(Deployment.id) == CommitStatus.deployment_id)
        .join(App, col(App.id) == Deployment.app_id)
        .where(App.repository_id == repository_id)
        .group_by(col(Deployment.app_id))
    )
    given_up = select(CommitStatus).where(
        col(CommitStatus.id).in_(last_words),
        col(CommitStatus.posted_at).is_(None),
        col(CommitStatus.next_attempt_at).is_(None),
    )
    for status in session.exec(given_up).all():
        status.attempts, status.next_attempt_at = 0, now()
