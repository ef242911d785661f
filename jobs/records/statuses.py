"""The outbox of commit statuses: written beside the change they tell, sent by `jobs.statuses`."""

from datetime import datetime

from sqlmodel import Session

from jobs.models import CommitStatus, Deployment
from jobs.states import github_description, github_state

NO_TOKEN = "not configured: the repository has no token"  # noqa: S105


def announce(session: Session, deployment: Deployment, words: str = "") -> None:
    """Have GitHub told how the deployment stands now.

    Does nothing while its commit is not known yet: a status belongs to a commit.
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
    """Close a status: it was posted, or it never will be."""
    status = session.get_one(CommitStatus, status_id)
    status.attempts += 1
    status.posted_at = posted_at
    status.error = error[:500]
    status.next_attempt_at = None


def postpone(session: Session, status_id: int, *, until: datetime, error: str) -> None:
    """Have a status tried again later."""
    status = session.get_one(CommitStatus, status_id)
    status.attempts += 1
    status.error = error[:500]
    status.next_attempt_at = until
