"""Add missed deliveries, secret rotation, token expiry, container details, indexes for pages."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# The database refuses to change or remove audit events, also by mistake at its prompt.
KEPT = {
    "sqlite": (
        """
        CREATE TRIGGER audit_events_unchanged BEFORE UPDATE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'audit events are never changed'); END
        """,
        """
        CREATE TRIGGER audit_events_kept BEFORE DELETE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'audit events are never removed'); END
        """,
        # INSERT OR REPLACE removes the existing row without firing the trigger above.
        """
        CREATE TRIGGER audit_events_once BEFORE INSERT ON audit_events
        WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'audit events are never replaced'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'audit events are never changed or removed'; END $$
        """,
        """
        CREATE TRIGGER audit_events_unchanged BEFORE UPDATE OR DELETE ON audit_events
        FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()
        """,
        """
        CREATE TRIGGER audit_events_kept BEFORE TRUNCATE ON audit_events
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
        """,
    ),
}


def upgrade() -> None:
    """Add the new tables, columns and indexes; existing rows keep their values."""
    op.create_index("ix_audit_events_actor", "audit_events", ["actor"])
    op.add_column("api_tokens", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "login_sessions",
        sa.Column("address", sa.String(length=64), nullable=False, server_default=""),
    )
    op.add_column(
        "apps", sa.Column("drain_timeout_s", sa.Integer(), nullable=False, server_default="30")
    )
    op.add_column("apps", sa.Column("init", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column(
        "apps", sa.Column("new_privileges", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_index("ix_audit_events_target", "audit_events", ["target"])
    op.create_index("ix_deliveries_repository", "deliveries", ["repository_id", "id"])
    op.create_index("ix_deployments_app_state", "deployments", ["app_id", "state", "id"])
    op.create_index("ix_deployments_app_trigger", "deployments", ["app_id", "trigger", "id"])
    op.create_table(
        "vitals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("disk_free", sa.BigInteger(), nullable=False),
        sa.Column("disk_total", sa.BigInteger(), nullable=False),
        sa.Column("engine_free", sa.BigInteger(), nullable=True),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vitals")),
    )
    op.add_column(
        "repository_secrets", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "repositories", sa.Column("token_problem_of", sa.String(length=32), nullable=True)
    )
    op.add_column(
        "repositories", sa.Column("token_expires_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.create_table(
        "vault_keys",
        sa.Column("fingerprint", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_vault_keys")),
    )
    op.create_table(
        "catch_ups",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("way", sa.String(length=32), nullable=True),
        sa.Column("found", sa.String(length=500), nullable=False),
        sa.Column("problem", sa.String(length=500), nullable=False),
        sa.Column("settled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_catch_ups_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_catch_ups")),
    )
    op.create_table(
        "branch_heads",
        sa.Column("app_id", sa.Integer(), nullable=False),
        sa.Column("ref", sa.String(length=500), nullable=False),
        sa.Column("commit_sha", sa.String(length=64), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"], ["apps.id"], name=op.f("fk_branch_heads_app_id_apps"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_branch_heads")),
    )
    for statement in KEPT[op.get_bind().dialect.name]:
        op.execute(statement)
