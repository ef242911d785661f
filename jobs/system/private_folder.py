"""Private folders for sockets and generated configuration, closed to other users."""

import os
import tempfile
from pathlib import Path

from jobs.errors import StorageError
from jobs.system.part_users import ROOT, family

OTHERS, GROUP = 0o007, 0o070


def runtime_dir(uid: int | None = None) -> Path:
    """Give the folder for sockets and locks that need not survive a reboot.

    Only this user can create files in it, so no other user can take a name first: /run for root,
    the user's own folder below /run/user for others. If there is no such folder, as for a service's
    user without a session, it is the temporary directory.

    Args:
        uid: the folder's user; None: the current user.
    """
    uid = os.getuid() if uid is None else uid
    own = Path("/run") if uid == ROOT else Path("/run/user", str(uid))
    # Check the owner and not write access: a root service may have less write access to the folder
    # than root has outside of that service.
    if own.is_dir() and own.stat().st_uid == uid:
        return own
    return Path(tempfile.gettempdir())


def claims_dir(uid: int) -> Path:
    """Give the folder of the claims, by which a user's Keystones detect copies of themselves."""
    return runtime_dir(uid) / f"keystone-{uid}-claims"


def ensure_private(folder: Path) -> Path:
    """Create a folder that only we can enter, or check that the existing folder is private.

    When the data directory's path is long, the socket folder is in the temporary directory, where
    any user may have created something with that name before us. Where Keystone's parts run as
    separate users, root, these users and their groups all count as ourselves.

    Raises:
        StorageError: another user owns the folder, it is open to others, or it cannot be created.
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


def owner_of(folder: Path) -> int:
    """Return the user id of a folder's owner; ours when it does not exist, as we will make it."""
    try:
        return folder.stat().st_uid
    except OSError:
        return os.getuid()
