"""Keystone on a real PostgreSQL: where it may differ from SQLite."""
