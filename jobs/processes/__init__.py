"""Keystone's own processes: which there are, and what they hold."""
