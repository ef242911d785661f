"""Ownership of the data directory's content when Keystone's parts run as separate users.

The directory itself stays root's: no part can add or remove anything in it. All operations are
idempotent; if they are killed, the next start completes them. No symbolic link is followed.
"""

import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import StorageError
from jobs.settings import Settings
from jobs.storage.deployment_log import FILE_MODE
from jobs.storage.sqlite_files import is_sqlite, sqlite_path
from jobs.storage.vault import KEY_FILE, KEY_MODE
from jobs.system.part_users import ROOT, PartUser, PartUsers
from jobs.system.private_folder import ensure_private
from jobs.system.router_key import ROUTER_KEY

logger = logging.getLogger(__name__)

OTHERS_ENTER, GROUP, GROUP_ENTERS = 0o001, 0o070, 0o010
CLOSED, ENTERED, READ = 0o700, 0o710, 0o750
SHARED = 0o660  # for files
MIGRATION_LOCK = "migrate.lock"


@dataclass(frozen=True)
class Place:
    """A folder or a file, with its intended owner and mode.

    Attributes:
        files: the mode of the files in it; None: each keeps its own mode.
        is_tree: whether its whole content must belong to the same user and group.
    """

    path: Path
    uid: int
    gid: int
    mode: int
    files: int | None = None
    is_tree: bool = False


def folders(settings: Settings, users: PartUsers) -> list[Place]:
    """List the folders that the parts use; parent folders come first."""
    work, web, redis = users.work, users.web, users.redis
    run = dict.fromkeys((settings.run_dir, settings.socket_dir))
    return [
        *(Place(folder, ROOT, work.gid, ENTERED) for folder in run),
        Place(settings.chroot_dir, ROOT, ROOT, CLOSED),
        Place(settings.docker_dir, ROOT, work.gid, ENTERED),
        Place(settings.redis_socket.parent, redis.uid, web.gid, ENTERED),
        _tree(settings.redis_dir, redis),
        _tree(settings.router_dir, work),
        _tree(settings.mirrors_dir, work),
        Place(settings.logs_dir, work.uid, web.gid, READ, files=FILE_MODE, is_tree=True),
    ]


def _tree(folder: Path, user: PartUser) -> Place:
    return Place(folder, user.uid, user.gid, CLOSED, is_tree=True)


def files(settings: Settings, users: PartUsers) -> list[Place]:
    """List the files that several parts use."""
    work, web = users.work, users.web
    shared = [settings.data_dir / MIGRATION_LOCK]
    if is_sqlite(url := settings.effective_database_url):
        database = sqlite_path(url)
        shared += [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    return [
        Place(settings.data_dir / KEY_FILE, ROOT, web.gid, KEY_MODE),
        Place(settings.run_dir / ROUTER_KEY, ROOT, web.gid, KEY_MODE),
        *(Place(path, work.uid, web.gid, SHARED) for path in shared),
    ]


def hand_out(settings: Settings, users: PartUsers) -> None:
    """Give each part access to its files in the data directory, and create missing folders.

    The database must not be open in this process: SQLite would lose its locks.

    Raises:
        OSError: the file system refuses.
        StorageError: a path is a symbolic link, or a folder is not ours to change.
    """
    let_in(settings.data_dir, users)
    ensure_private(settings.socket_dir)
    for place in folders(settings, users):
        place.path.mkdir(mode=0o700, exist_ok=True)
        with _opened(place.path, os.O_DIRECTORY) as folder:
            # Change the folder itself last: a correct folder shows that its whole tree was done.
            if place.is_tree and not _is_as_it_should_be(folder, place):
                _hand_out_tree(folder, place)
            _hand_out(folder, place)
    (settings.data_dir / MIGRATION_LOCK).touch(mode=0o600)
    for place in files(settings, users):
        with suppress(FileNotFoundError), _opened(place.path, os.O_NONBLOCK) as file:
            _hand_out(file, place)


def take_back(settings: Settings, users: PartUsers) -> None:
    """Make the folders root's again, for a start with every part running as root.

    Their content keeps its owners, since root can read everything; the next `hand_out` checks the
    whole content. The copies of root's logins are deleted: root reads the originals.
    """
    for place in folders(settings, users):
        # Skip links: `hand_out` never changes them.
        with suppress(OSError, StorageError), _opened(place.path, os.O_DIRECTORY) as folder:
            if os.fstat(folder).st_uid in users.uids:
                _hand_out(folder, Place(place.path, ROOT, ROOT, CLOSED))
    shutil.rmtree(settings.docker_dir, ignore_errors=True)


def let_in(data_dir: Path, users: PartUsers) -> None:
    """Let the parts enter the data directory; if every user may enter it, change nothing.

    Raises:
        OSError: the file system refuses.
        StorageError: the directory is shared with another group.
    """
    gid = users.work.gid
    with _opened(data_dir, os.O_DIRECTORY) as folder:
        found = os.fstat(folder)
        if found.st_mode & OTHERS_ENTER:
            return
        if found.st_mode & GROUP and found.st_gid not in {ROOT, gid}:
            raise StorageError(f"{data_dir} is shared with a group that Keystone knows nothing of")
        rights = stat.S_IMODE(found.st_mode) & ~GROUP | GROUP_ENTERS
        _hand_out(folder, Place(data_dir, found.st_uid, gid, rights))


def _hand_out_tree(folder: int, place: Place) -> None:
    """Give everything below an open folder to one user and group, the deepest entries first."""
    inside = os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=folder)
    for name, _folders, names, opened in inside:
        for each in names:
            _hand_out_file(opened, each, place)
        if name != ".":
            os.fchown(opened, place.uid, place.gid)


def _hand_out_file(folder: int, name: str, place: Place) -> None:
    try:
        file = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(file)
        # A user with write access to the folder can hard-link any file of the disk into it.
        if found.st_nlink > 1 and found.st_uid != place.uid:
            logger.warning(
                "%s in %s has another name elsewhere: it is left as it is", name, place.path
            )
        elif stat.S_ISREG(found.st_mode):
            # Use the descriptor: the name may refer to another file by now.
            itself = f"/proc/self/fd/{file}"
            os.chown(itself, place.uid, place.gid)
            if place.files is not None:
                os.chmod(itself, place.files)  # noqa: PTH101 — no path
    finally:
        os.close(file)


def _is_as_it_should_be(opened: int, place: Place) -> bool:
    found = os.fstat(opened)
    is_theirs = (found.st_uid, found.st_gid) == (place.uid, place.gid)
    return is_theirs and stat.S_IMODE(found.st_mode) == place.mode


def _hand_out(opened: int, place: Place) -> None:
    if not _is_as_it_should_be(opened, place):
        os.fchown(opened, place.uid, place.gid)
        os.fchmod(opened, place.mode)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    if path.is_symlink():
        raise StorageError(f"{path} is a link, and what it leads to may be somebody else's")
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
    try:
        yield opened
    finally:
        os.close(opened)
