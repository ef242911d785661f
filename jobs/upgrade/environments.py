"""Removes the environments that nothing uses any more, after an upgrade."""

import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from jobs.system.installation import ENVIRONMENTS, LINK, LOCK_DIGEST

READY_TO_TEST = ".ready-to-test"  # in the environments of developers


def remove_unused(kept: Collection[str]) -> None:
    """Remove the environments that `make upgrade` has made for versions before the previous one.

    Args:
        kept: interpreters whose environments stay.
    """
    folder = Path(sys.prefix).resolve().parent
    if folder.name != ENVIRONMENTS:
        return
    stay = {Path(sys.prefix).resolve(), (folder.parent / LINK).resolve()}
    stay |= {Path(python).parents[1].resolve() for python in [*kept, *_used()]}
    for path in folder.iterdir():
        is_ours = (path / LOCK_DIGEST).exists() and not (path / READY_TO_TEST).exists()
        if is_ours and path.resolve() not in stay and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _used() -> Iterator[str]:
    """Give the interpreters of all processes that can be seen."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            program = path.read_bytes().partition(b"\0")[0].decode()
        except (OSError, ValueError):
            continue
        if len(Path(program).parts) > 2:  # noqa: PLR2004 — a file in an environment's `bin`
            yield program
