"""Releases on trial: what to go back to when a new one does not stay up."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nothing yet."""
