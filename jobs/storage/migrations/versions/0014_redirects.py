"""Store the redirects of domains, and the domain that each app has by default."""

revision = "0014"
down_revision = "0013"

# Earlier code neither reads nor writes what this adds.
compatible = True


def upgrade() -> None:
    """Add the tables and columns."""


def downgrade() -> None:
    """Drop them."""
