"""Store the settings of apps as one JSON value each for pushes, builds and containers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Each new column, with the old columns whose values it replaces.
PARTS: dict[str, tuple[str, ...]] = {
    "push_rules": ("watch_paths", "tag_pattern", "on_new_push", "skip_phrases", "keep_releases"),
    "build": (
        "context",
        "dockerfile",
        "build_target",
        "build_timeout_s",
        "build_args",
        "build_secrets",
    ),
    "container": (
        "health",
        "health_path",
        "health_status",
        "health_timeout_s",
        "health_interval_s",
        "health_successes",
        "container_port",
        "memory_mb",
        "cpus",
        "pids",
        "restart",
        "capabilities",
        "new_privileges",
        "init",
        "drain_timeout_s",
        "stop_signal",
        "stop_grace_s",
        "command",
        "volumes",
        "labels",
    ),
}
JSON_COLUMNS = frozenset(
    {
        "watch_paths",
        "skip_phrases",
        "build_args",
        "build_secrets",
        "command",
        "volumes",
        "labels",
    }
)
SWITCHES = frozenset({"new_privileges", "init"})


def upgrade() -> None:
    """Merge the columns of apps; correct releases that were stored before `health` existed."""
    for part in PARTS:
        op.add_column("apps", sa.Column(part, sa.JSON(), nullable=False, server_default="{}"))
    _fold(op.get_bind())
    for name in (name for names in PARTS.values() for name in names):
        op.drop_column("apps", name)
    _mend_releases(op.get_bind())


def _fold(connection: sa.Connection) -> None:
    names = [name for names in PARTS.values() for name in names]
    apps = sa.table("apps", sa.column("id"), *(sa.column(name, _kind(name)) for name in names))
    kept = sa.table("apps", sa.column("id"), *(sa.column(part, sa.JSON()) for part in PARTS))
    for row in connection.execute(sa.select(apps)).mappings().all():
        values: dict[str, Any] = {part: {name: row[name] for name in PARTS[part]} for part in PARTS}
        connection.execute(kept.update().where(kept.c.id == row["id"]).values(values))


def _kind(name: str) -> Any:  # noqa: ANN401 — a type of SQLAlchemy's
    if name in JSON_COLUMNS:
        return sa.JSON()
    return sa.Boolean() if name in SWITCHES else None


def _mend_releases(connection: sa.Connection) -> None:
    """Remove healthy statuses that were never checked.

    For an app without a path, the health check used to open only a connection. Now it needs a
    response, like that of every release, and any status below 500 is healthy.
    """
    releases = sa.table("releases", sa.column("id"), sa.column("container", sa.JSON()))
    for number, container in connection.execute(sa.select(releases)).all():
        is_asked = "health" in container or container.get("health_path") is not None
        if is_asked or container.get("health_status") is None:
            continue
        mended = {**container, "health_status": None}
        connection.execute(
            releases.update().where(releases.c.id == number).values(container=mended)
        )
