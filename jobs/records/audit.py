"""The audit trail: every change adds an event. The database refuses to change or remove events."""

from enum import StrEnum

from sqlmodel import Session

from jobs.rules.actors import Actor
from jobs.storage.models import AuditEvent


class Tag(StrEnum):
    """The kinds of audit events, as `subject.event`."""

    APP_CREATED = "app.created"
    APP_CHANGED = "app.changed"
    APP_REMOVED = "app.removed"
    REPOSITORY_CREATED = "repository.created"
    REPOSITORY_IDENTIFIED = "repository.identified"
    REPOSITORY_RENAMED = "repository.renamed"
    REPOSITORY_MOVED = "repository.moved"
    REPOSITORY_REMOVED = "repository.removed"
    REPOSITORY_TOKEN_SET = "repository.token_set"  # noqa: S105
    WEBHOOK_SECRET_ROTATED = "repository.webhook_secret_rotated"  # noqa: S105
    WEBHOOK_SECRET_FINISHED = "repository.webhook_secret_finished"  # noqa: S105
    WEBHOOK_SECRET_DROPPED = "repository.webhook_secret_dropped"  # noqa: S105
    KEY_ADDED = "key.added"
    KEY_ROTATED = "key.rotated"
    KEY_DROPPED = "key.dropped"
    ENVIRONMENT_SET = "environment.set"
    ENVIRONMENT_UNSET = "environment.unset"
    CERTIFICATE_SET = "certificate.set"
    CERTIFICATE_REMOVED = "certificate.removed"
    HOOK_INSTALLED = "repository.hook_installed"
    DELIVERY_ACCEPTED = "delivery.accepted"
    PUSH_CAUGHT_UP = "delivery.caught_up"
    DEPLOYMENT_REQUESTED = "deployment.requested"
    DEPLOYMENT_CANCELLED = "deployment.cancelled"
    DEPLOYMENT_WITHDRAWN = "deployment.withdrawn"
    KEYSTONE_BACKED_UP = "keystone.backed_up"
    KEYSTONE_RESTORED = "keystone.restored"
    KEYSTONE_UPGRADED = "keystone.upgraded"
    KEYSTONE_UPGRADE_FAILED = "keystone.upgrade_failed"
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_REMOVED = "user.removed"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    LOGOUT = "login.ended"
    LOGOUT_EVERYWHERE = "login.all_ended"
    TOKEN_CREATED = "token.created"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105


def note(session: Session, tag: Tag, actor: Actor, target: str, **details: object) -> None:
    """Add an audit event in the transaction of the change. Details must hold no secrets."""
    session.add(
        AuditEvent(
            tag=tag,
            actor_kind=actor.kind,
            actor_name=actor.kept_name,
            target=target[:200],
            address=actor.address[:64],
            details=details,
        )
    )
