"""Keystone's tests."""
