"""Makes the request to start a release again, with the message and author of its commit."""

from sqlmodel import Session

from jobs.records.requests import Request
from jobs.states import Trigger
from jobs.storage.models import Deployment, Release


def again(session: Session, release: Release, trigger: Trigger) -> Request:
    """Make the request that starts a release again, unchanged."""
    maker = session.get(Deployment, release.deployment_id)
    return Request(
        trigger=trigger,
        ref=release.commit_sha,
        commit_sha=release.commit_sha,
        commit_message=maker.commit_message if maker else "",
        author=maker.author if maker else "",
        release_id=release.id,
    )
