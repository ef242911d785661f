"""Backups: made, unpacked, put in place."""
