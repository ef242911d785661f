"""The schema's Alembic migrations, applied when a process starts."""
