"""Folders that hold sockets and generated configuration: Keystone's own, closed to all others."""

import os
import tempfile
from pathlib import Path

from jobs.errors import StorageError
from jobs.system.part_users import ROOT, family

OTHERS, GROUP = 0o007, 0o070


def runtime_dir(uid: int | None = None) -> Path:
    """Give the folder for sockets and locks that need not outlive a boot.

    It is one where nobody but this user can make anything, so that nobody can take a name before
    us: /run for root, the user's own folder below it for others. Only where there is none, as for
    the user of a service without a session, it is the temporary directory.

    Args:
        uid: whose folder, whoever asks; None: that of the user who asks.
    """
    uid = os.getuid() if uid is None else uid
    own = Path("/run") if uid == ROOT else Path("/run/user", str(uid))
    # What a service of root's may write to of it can be less than root sees outside of that.
    if own.is_dir() and own.stat().st_uid == uid:
        return own
    return Path(tempfile.gettempdir())


def claims_dir(uid: int) -> Path:
    """Give the folder of the claims by which a user's Keystones notice a copy of themselves."""
    return runtime_dir(uid) / f"keystone-{uid}-claims"


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
