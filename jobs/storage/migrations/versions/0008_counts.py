"""Store the numbers of missed pushes and of restarts in columns, no longer inside texts."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

COUNTED = re.compile(r"([1-9][0-9]{0,8}) push(?: was|es were) missed(?:: (.*))?", re.DOTALL)
NOTHING = "nothing was missed"


def upgrade() -> None:
    """Add the columns; move the number of missed pushes from the beginning of the text.

    The watcher's next check writes the number of a container's restarts again.
    """
    op.add_column("apps", sa.Column("container_restarts", sa.Integer(), nullable=True))
    op.add_column("catch_ups", sa.Column("missed", sa.Integer(), nullable=True))
    rows = sa.table(
        "catch_ups",
        sa.column("repository_id", sa.Integer()),
        sa.column("missed", sa.Integer()),
        sa.column("found", sa.String()),
    )
    connection = op.get_bind()
    found_before = connection.execute(sa.select(rows.c.repository_id, rows.c.found)).all()
    for repository_id, words in found_before:
        missed, found = counted(words)
        connection.execute(
            rows.update()
            .where(rows.c.repository_id == repository_id)
            .values(missed=missed, found=found)
        )


def counted(words: str) -> tuple[int | None, str]:
    """Split a search's text into the number of missed pushes and the rest; None if it failed."""
    if match := COUNTED.fullmatch(words):
        return int(match[1]), match[2] or ""
    if not words:
        return None, ""
    return 0, "" if words == NOTHING else words
