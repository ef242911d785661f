"""Keystone's core: tables, queue, deployments, adapters and the command line."""
