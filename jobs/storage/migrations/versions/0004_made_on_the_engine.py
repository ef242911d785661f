"""Record the items that Keystone makes on the engine."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table of records. The watcher adds records for items already on the engine."""
    op.create_table(
        "engine_items",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("app", sa.String(length=63), nullable=False),
        sa.Column("engine_id", sa.String(length=100), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_engine_items")),
    )
    op.add_column(
        "identity",
        sa.Column("image_key", sa.String(length=64), nullable=False, server_default=""),
    )
    op.add_column(
        "identity",
        sa.Column("adopts_items", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    # A Keystone has a row, and perhaps items on the engine, only if it was started before.
    identity = sa.table(
        "identity", sa.column("image_key", sa.String), sa.column("adopts_items", sa.Boolean)
    )
    known = identity.update().values(image_key=secrets.token_hex(32), adopts_items=sa.true())
    op.execute(known)
