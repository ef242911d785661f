"""Backup of a whole Keystone to one file, and restore from that file."""
