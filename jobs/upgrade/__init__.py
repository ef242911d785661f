"""Replaces the running Keystone with another version, and brings the old one back if that fails."""
