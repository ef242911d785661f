"""Store when a certificate's lifetime began: warnings depend on how long it is."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

# Earlier code neither reads nor writes this column.
compatible = True


def upgrade() -> None:
    """Add the column; it is known from the next time that a certificate is set."""
    op.add_column(
        "certificates", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("certificates", "not_before")
