"""Repositories: take GitHub's ids only from GitHub or an operator, and never reuse our ids."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

RENAMED = "repository.renamed"
UNCONFIRMED = (
    "an earlier version took this name from a delivery, and another repository has the name it was "
    "added with; give its GitHub id (`keystone repository set`), or remove it"
)


def upgrade() -> None:
    """Add the source of each GitHub id; clear ids from deliveries, and ask GitHub for them."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table(
        "repositories",
        # In SQLite, AUTOINCREMENT can be set only when a table is created.
        recreate="always" if is_sqlite else "never",
        table_kwargs={"sqlite_autoincrement": True},
    ) as table:
        table.add_column(sa.Column("identity_from", sa.String(length=32), nullable=True))
        for name in ("identity_checked_at", "identity_paused_until", "identity_due_at"):
            table.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("identity_problem", sa.String(length=500), nullable=True))
        table.add_column(
            sa.Column("is_name_claimed", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    _forget_claims(op.get_bind())


def _forget_claims(connection: sa.Connection) -> None:
    """Undo the ids and the names that rows have from deliveries."""
    repositories = sa.table(
        "repositories",
        *(sa.column(name) for name in ("id", "github_id", "full_name", "name_key")),
        *(sa.column(name) for name in ("identity_problem", "is_name_claimed")),
    )
    connection.execute(repositories.update().values(github_id=None))
    rows = connection.execute(sa.select(repositories.c.id, repositories.c.full_name))
    names = dict(rows.all())
    for repository_id, configured in _configured_names(connection).items():
        claimed = names.get(repository_id)
        if claimed is None or claimed.lower() == configured.lower():
            continue
        taken = {name.lower() for other, name in names.items() if other != repository_id}
        values: dict[str, object] = {"full_name": configured, "name_key": configured.lower()}
        if configured.lower() in taken:
            values = {"is_name_claimed": True, "identity_problem": UNCONFIRMED}
        else:
            names[repository_id] = configured
        connection.execute(
            repositories.update().where(repositories.c.id == repository_id).values(values)
        )


def _configured_names(connection: sa.Connection) -> dict[int, str]:
    """Give the original names of renamed repositories; every rename came from a delivery."""
    events = sa.table(
        "audit_events",
        *(sa.column(name) for name in ("id", "tag", "target")),
        sa.column("details", sa.JSON()),
    )
    renames = sa.select(events.c.target, events.c.details).where(events.c.tag == RENAMED)
    found: dict[int, str] = {}
    for target, details in connection.execute(renames.order_by(events.c.id)):
        number = target.removeprefix("repository:")
        if number.isdecimal() and isinstance(details.get("before"), str):
            found.setdefault(int(number), details["before"])
    return found
