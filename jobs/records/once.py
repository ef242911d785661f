"""Makes requests idempotent: a second click, a second tab or a retry makes no second deployment.

A request names the app's last deployment that its sender has seen. The same request after the same
deployment is queued only once, whoever sends it and however often. A unique constraint of the
database enforces that.
"""

import hashlib
from datetime import timedelta

from sqlmodel import Session, select

from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.storage.models import App, Deployment, now

# A page left open for a day still sends yesterday's number, and that is not a second click.
SAME_WITHIN = timedelta(minutes=1)


def key_of(wanted: str, after: int | None) -> str | None:
    """Give the key by which a repeated request is recognised; None if repeats are allowed.

    Args:
        wanted: the target of the request, such as a ref.
        after: the number of the app's last deployment that the sender has seen.
    """
    if after is None:
        return None
    return f"after {after} {hashlib.sha256(wanted.encode()).hexdigest()}"


def asked_before(session: Session, app: App, key: str | None) -> Deployment | None:
    """Give the deployment that the same request has already queued.

    An old request loses its key, so that the key can be used again.
    """
    if key is None:
        return None
    statement = select(Deployment).where(Deployment.app_id == app.id, Deployment.request_key == key)
    found = session.exec(statement).first()
    if found is None or _is_the_same(found):
        return found
    found.request_key = None
    session.flush()
    return None


def _is_the_same(found: Deployment) -> bool:
    return not found.state.is_over or now() - found.queued_at < SAME_WITHIN


def request_once(session: Session, app: App, wanted: Request, actor: Actor) -> Deployment:
    """Queue a deployment, or give the one that the same request has already queued."""
    return asked_before(session, app, wanted.request_key) or request(session, app, wanted, actor)
