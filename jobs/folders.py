"""Folders that hold sockets and generated configuration: ours, and closed to everybody else."""

import os
import tempfile
from pathlib import Path

from jobs.errors import StorageError

OTHERS = 0o077


def runtime_dir() -> Path:
    """Give the folder for sockets and locks that need not outlive a boot.

    It is one where nobody but this user can make anything, so that nobody can take a name before
    us: /run for root, the user's own folder below it for others. Only where there is none, as for
    the user of a service without a session, it is the temporary directory.
    """
    uid = os.getuid()
    own = Path("/run") if uid == 0 else Path("/run/user", str(uid))
    if own.is_dir() and own.stat().st_uid == uid and os.access(own, os.W_OK | os.X_OK):
        return own
    return Path(tempfile.gettempdir())


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
