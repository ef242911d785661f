"""What Keystone has made on the engine is on record."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing yet."""
