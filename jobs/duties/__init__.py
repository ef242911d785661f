"""The watcher's duties, one per module."""
