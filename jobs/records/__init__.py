"""Writes only. Each change and its audit event share the caller's transaction."""
