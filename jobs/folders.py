"""Folders that hold sockets and generated configuration: Keystone's own, closed to all others."""

import os
from pathlib import Path

from jobs.errors import StorageError
from jobs.part_users import ROOT, family

OTHERS, GROUP = 0o007, 0o070


def ensure_private(folder: Path) -> Path:
    """Make a folder that only we can enter, or make sure that the one there is such a folder.

    The socket folder of a long data directory lies below the temporary directory, where anybody
    may have made something of that name before us. Where the parts of Keystone run as users of
    their own, root and each of those users count as us, and so do their groups.

    Raises:
        StorageError: it is somebody else's, open to others, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as exc:
        raise StorageError(f"{folder} cannot be made: {exc.strerror}") from exc
    users = family()
    owners = {ROOT, *users.uids} if users else {os.getuid()}
    if not folder.is_dir() or folder.is_symlink() or found.st_uid not in owners:
        raise StorageError(f"{folder} is not a folder of ours; remove it and start again")
    shared = users is not None and found.st_gid in users.gids
    if found.st_mode & (OTHERS if shared else OTHERS | GROUP):
        raise StorageError(f"{folder} is open to other users; run `chmod 700 {folder}`")
    return folder
