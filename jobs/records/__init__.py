"""Writes only. Each change and its audit event are made in the caller's one transaction."""
