"""Records upgrades of Keystone itself."""

from sqlmodel import Session

from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor


def note_upgrade(session: Session, actor: Actor, *, before: str, after: str, problem: str) -> None:
    """Add the audit event of an upgrade; with a problem, the version before runs again."""
    tag = Tag.KEYSTONE_UPGRADE_FAILED if problem else Tag.KEYSTONE_UPGRADED
    reason = {"reason": problem[:500]} if problem else {}
    note(session, tag, actor, "keystone", before=before, after=after, **reason)
