"""Alembic's entry point: runs migrations over the connection that it is given."""

from alembic import context
from sqlmodel import SQLModel

import jobs.storage.models  # noqa: F401 — fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
