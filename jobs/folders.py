"""Folders that hold sockets and generated configuration: ours, and closed to everybody else."""

import os
from pathlib import Path

from jobs.errors import StorageError

OTHERS = 0o077


def ensure_private(folder: Path) -> Path:
    """Make a folder that only we can enter, or make sure that the one there is such a folder.

    The socket folder of a long data directory lies below the temporary directory, where anybody
    may have made something of that name before us.

    Raises:
        StorageError: it is somebody else's, open to others, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as exc:
        raise StorageError(f"{folder} cannot be made: {exc.strerror}") from exc
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid():
        raise StorageError(f"{folder} is not a folder of ours; remove it and start again")
    if found.st_mode & OTHERS:
        raise StorageError(f"{folder} is open to other users; run `chmod 700 {folder}`")
    return folder
