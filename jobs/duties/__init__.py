"""What the watcher does, one duty a module."""
