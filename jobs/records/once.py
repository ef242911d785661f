"""Asking twice makes one deployment: a second click, a second tab, a program that tries again.

Whoever asks says which deployment was the app's last when they looked. What is asked for after it
is asked for once, whoever asks and however often; the database's own constraint holds that.
"""

import hashlib
from datetime import timedelta

from sqlmodel import Session, select

from jobs.records.requests import Request, request
from jobs.rules.actors import Actor
from jobs.storage.models import App, Deployment, now

# A page that was left open for a day still shows yesterday's number: that is no second click.
SAME_WITHIN = timedelta(minutes=1)


def key_of(wanted: str, after: int | None) -> str | None:
    """Give what a request is known again by; None: it is never the same as another.

    Args:
        wanted: what is asked for, such as a ref.
        after: the number of the app's last deployment that the asker knows of.
    """
    if after is None:
        return None
    return f"after {after} {hashlib.sha256(wanted.encode()).hexdigest()}"


def asked_before(session: Session, app: App, key: str | None) -> Deployment | None:
    """Give the deployment that the same request has led to.

    A request of long ago is let go of, so that its key can be used again.
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
    """Queue a deployment, or give the one that the same request has led to already."""
    return asked_before(session, app, wanted.request_key) or request(session, app, wanted, actor)
