"""A temporary folder for unfinished work, which also removes leftovers of killed processes."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.errors import StorageError

PREFIX = ".unfinished-"
ABANDONED_AFTER_S = 24 * 3600


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it after the block.

    Raises:
        StorageError: the folder cannot be made there.
    """
    for left in parent.glob(f"{PREFIX}*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    try:
        folder = TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True)
    except OSError as exc:
        raise StorageError(f"nothing can be written to {parent}: {exc.strerror}") from exc
    with folder as name:
        yield Path(name)
