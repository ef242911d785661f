"""The settings of apps are kept as one value each for pushes, builds and containers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Each new column, and the old ones whose values it holds from now on.
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
    """Fold the columns of apps; mend what releases have kept since before there was `health`."""
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
    """Take away statuses that were never asked for.

    When an app had no path, its container was only connected to. It has to answer now, as every
    release has, and any answer below 500 will do.
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
