"""Store the oldest schema whose code can use the database."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
compatible = False  # code of schema 0009 refuses every newer schema


def upgrade() -> None:
    """Add the table with its one row; `apply.py` updates the row after each migration."""
    made = op.create_table(
        "schema_use",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("oldest", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(made, [{"id": 1, "oldest": revision}])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("schema_use")
