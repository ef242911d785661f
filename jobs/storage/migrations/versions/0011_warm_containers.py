"""Keep the replaced container warm: store until when, and its address."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# Earlier code neither reads nor writes these columns. It stops the warm containers it finds.
compatible = True

COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("warm_until", sa.DateTime(timezone=True), nullable=True),
    sa.Column("warm_address", sa.String(length=64), nullable=True),
)


def upgrade() -> None:
    """Add the columns; no container is warm yet."""
    for column in COLUMNS:
        op.add_column("apps", column)


def downgrade() -> None:
    """Drop the columns. The sweep of earlier code stops the warm containers."""
    for column in reversed(COLUMNS):
        op.drop_column("apps", column.name)
