"""Store an actor in two columns, and the key of a repeated request in its own column."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

KINDS = ("user", "token", "webhook", "cli", "keystone", "stranger")
# The database refuses to change audit events. Only this migration does, without changing meanings.
SQLITE_REFUSAL = """
CREATE TRIGGER audit_events_unchanged BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END
"""


def upgrade() -> None:
    """Split `user:ada` into its parts; move request keys out of the column of GitHub's GUIDs."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    _split_actors("deployments")
    op.execute(
        "DROP TRIGGER IF EXISTS audit_events_unchanged"
        if is_sqlite
        else "ALTER TABLE audit_events DISABLE TRIGGER USER"
    )
    op.drop_index("ix_audit_events_actor", "audit_events")
    _split_actors("audit_events")
    op.create_index("ix_audit_events_actor", "audit_events", ["actor_kind", "actor_name"])
    op.execute(SQLITE_REFUSAL if is_sqlite else "ALTER TABLE audit_events ENABLE TRIGGER USER")
    _move_request_keys()


def _split_actors(name: str) -> None:
    for column, length in (("actor_kind", 32), ("actor_name", 200)):
        op.add_column(
            name, sa.Column(column, sa.String(length=length), nullable=False, server_default="")
        )
    rows = sa.table(name, *map(sa.column, ("actor", "actor_kind", "actor_name")))
    for kind in KINDS:
        rest = sa.func.substr(rows.c.actor, len(kind) + 2)
        of_kind = rows.update().where(rows.c.actor.startswith(f"{kind}:"))
        op.execute(of_kind.values(actor_kind=kind, actor_name=rest))
    # No version has written any other kind; this keeps rows readable that were inserted by hand.
    others = rows.update().where(rows.c.actor_kind == "")
    op.execute(others.values(actor_kind="stranger", actor_name=rows.c.actor))
    op.drop_column(name, "actor")


def _move_request_keys() -> None:
    op.add_column("deployments", sa.Column("request_key", sa.String(length=100), nullable=True))
    rows = sa.table("deployments", sa.column("guid"), sa.column("request_key"))
    # GitHub's GUIDs hold no spaces.
    of_requests = rows.update().where(rows.c.guid.startswith("after "))
    op.execute(of_requests.values(request_key=rows.c.guid, guid=None))
    op.create_index("ix_deployments_request", "deployments", ["app_id", "request_key"], unique=True)
