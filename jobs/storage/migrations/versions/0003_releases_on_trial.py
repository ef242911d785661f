"""Releases on trial: store the fallback for a new release that does not stay up."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

APP_COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("health", sa.String(length=32), nullable=False, server_default="http"),
    sa.Column("trial_ends_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("live_ends", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("live_restarts", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("fallback_release_id", sa.Integer(), nullable=True),
    sa.Column("fallback_container_id", sa.String(length=64), nullable=True),
)
DEPLOYMENT_COLUMNS: tuple[sa.Column[Any], ...] = (
    sa.Column("recovers_id", sa.Integer(), nullable=True),
    sa.Column("gives_way", sa.Boolean(), nullable=False, server_default=sa.false()),
)


def upgrade() -> None:
    """Add the new columns. Releases that are already live count as having passed their trial."""
    for column in APP_COLUMNS:
        op.add_column("apps", column)
    for column in DEPLOYMENT_COLUMNS:
        op.add_column("deployments", column)
    _let_statuses_be_empty()


def _let_statuses_be_empty() -> None:
    """Keep the chosen healthy statuses; the default becomes NULL, and depends on the path.

    SQLite can make a column nullable only by rebuilding the table, and dropping the old table would
    remove all rows that refer to an app. So add a new column and drop the old one instead.
    """
    op.add_column("apps", sa.Column("chosen_status", sa.String(length=7), nullable=True))
    op.execute("UPDATE apps SET chosen_status = health_status WHERE health_status <> '200-399'")
    op.drop_column("apps", "health_status")
    op.execute("ALTER TABLE apps RENAME COLUMN chosen_status TO health_status")
