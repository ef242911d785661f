"""Replaces the old Keystone by the restored one, so that a usable one exists at any moment.

First it adds the new keys to the old ones, then an atomic rename replaces the old database by the
new one, and only then are the old keys removed: if it is killed in between, either database finds
its key. The old files are kept under their name with a suffix.
"""

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.adapters.git.source import GitSource
from jobs.backups.keys import Ring
from jobs.errors import BackupError, StorageError
from jobs.settings import Settings
from jobs.storage.deployment_log import FILE_MODE
from jobs.storage.sqlite_files import is_sqlite, make_whole, sqlite_path
from jobs.storage.vault import KEY_FILE, read_keys, write_keys

BESIDE = ("-wal", "-shm", "-journal")

Stroke = Callable[[], None]


@dataclass
class Placing:
    """One replacement of the present files by the restored ones.

    Attributes:
        brought: the folder with the restored database and logs.
        ring: the keys that decrypt that database's secrets.
        kept_logs: the deployment ids whose present logs stay, as the restored database has them.
        kept_mirrors: the repository ids whose present mirrors stay.
        suffix: appended to the names of the old files.
        moved: the new paths of the old files.
    """

    settings: Settings
    brought: Path
    ring: Ring
    kept_logs: Collection[str]
    kept_mirrors: Collection[int]
    suffix: str
    moved: list[Path] = field(default_factory=list)

    @property
    def strokes(self) -> Sequence[Stroke]:
        """The steps of the replacement, in order; Keystone can be started after each of them."""
        return (
            self._add_keys,
            self._exchange_database,
            self._drop_old_keys,
            self._drop_mirrors,
            self._move_logs,
            self._bring_logs,
        )

    def run(self) -> None:
        """Run all steps.

        Raises:
            ConflictError: something still uses the database.
            StorageError: a file cannot be written or moved.
        """
        try:
            for stroke in self.strokes:
                stroke()
        except OSError as exc:
            told = f"{exc.filename}: {exc.strerror}"
            raise StorageError(f"the backup could not be put in place: {told}") from exc

    # --- Keys --------------------------------------------------------------------------------

    @property
    def _key_file(self) -> Path:
        return self.settings.data_dir / KEY_FILE

    def _add_keys(self) -> None:
        if not self.ring.is_kept:
            return
        old = read_keys(self._key_file) if self._key_file.exists() else []
        added = [key for key in old if key not in self.ring.keys]
        if added:
            self._keep(self._key_file)
        write_keys(self._key_file, [*self.ring.keys, *added])

    def _drop_old_keys(self) -> None:
        if self.ring.is_kept:
            write_keys(self._key_file, self.ring.keys)

    # --- Database ----------------------------------------------------------------------------

    def _exchange_database(self) -> None:
        if not is_sqlite(self.settings.effective_database_url):
            return  # PostgreSQL's own tools have restored it
        path = sqlite_path(self.settings.effective_database_url)
        brought = self.brought / "keystone.db"
        _sync(brought)
        if path.exists():
            self._keep_database(path)
        brought.replace(path)
        _sync(path.parent)

    def _keep_database(self, path: Path) -> None:
        try:
            make_whole(path)
        except BackupError:
            # Damaged: SQLite must not take its side files (`BESIDE`) for the new database's.
            for end in BESIDE:
                beside = path.with_name(path.name + end)
                if beside.exists():
                    beside.rename(self._old_name(path).with_name(self._old_name(path).name + end))
        self._keep(path)

    # --- Mirrors -----------------------------------------------------------------------------

    def _drop_mirrors(self) -> None:
        """Remove the mirrors of other repositories: new repositories may get their ids."""
        source = GitSource(self.settings.mirrors_dir, allowed_schemes=())
        for repository_id in source.kept().difference(self.kept_mirrors):
            source.forget(repository_id)

    # --- Logs --------------------------------------------------------------------------------

    def _move_logs(self) -> None:
        logs = self.settings.logs_dir
        brought = {path.name for path in self.brought.glob("logs/*.log")}
        leaving = [
            path
            for path in sorted(logs.glob("*.log"))
            if path.stem not in self.kept_logs or path.name in brought
        ]
        if not leaving:
            return
        old = self._old_name(logs)
        old.mkdir(mode=0o700)
        self.moved.append(old)
        for path in leaving:
            path.rename(old / path.name)

    def _bring_logs(self) -> None:
        brought = sorted(self.brought.glob("logs/*.log"))
        if brought:
            self.settings.logs_dir.mkdir(mode=0o700, exist_ok=True)
        for path in brought:
            # Copied, not renamed: the logs may be on another disk than the restored files.
            copy = self.settings.logs_dir / f".{path.name}"
            shutil.copyfile(path, copy)
            _give_to_the_owner_of(self.settings.logs_dir, copy)
            copy.replace(self.settings.logs_dir / path.name)

    # --- Old things --------------------------------------------------------------------------

    def _keep(self, path: Path) -> None:
        """Keep a file under a second name, by a hard link."""
        old = self._old_name(path)
        old.hardlink_to(path)
        self.moved.append(old)

    def _old_name(self, path: Path) -> Path:
        return path.with_name(path.name + self.suffix)


def _give_to_the_owner_of(folder: Path, file: Path) -> None:
    """Give a file to the owner and group of its folder; only root can do that, and needs to."""
    file.chmod(FILE_MODE)
    if os.getuid() == 0:
        owner = folder.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
