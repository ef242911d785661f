"""The schema's history, by Alembic; applied when a process starts."""
