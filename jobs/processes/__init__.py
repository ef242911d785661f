"""Keystone's own processes: their definitions, their supervision and their shared resources."""
