"""Modification times of a mirror's files, as a work tree would have them.

The engine considers a file unchanged when its size and modification time are the same. Images keep
the times, and web servers use them to tell browsers which files are new. Git stores no times, so
this module does: a file with the same content as at the last call keeps its time, every other file
gets the current time. If the list is lost, every file gets the current time and is sent again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from jobs.rules.repository_values import TreeEntry

Times = dict[str, tuple[str, int]]  # by path: blob, nanoseconds since 1970


def dated(mirror: Path, folder: str, entries: Sequence[TreeEntry]) -> list[TreeEntry]:
    """Give the entries with their files' modification times, and store the times."""
    file = mirror / "times" / f"{hashlib.sha256(folder.encode()).hexdigest()[:16]}.json"
    known, now_ns = _read(file), time.time_ns()
    result = [replace(each, changed_ns=_changed(each, known, now_ns)) for each in entries]
    times = {each.path: (each.blob, each.changed_ns) for each in result}
    if times != known:
        _write(file, times)
    return result


def _changed(entry: TreeEntry, known: Times, now_ns: int) -> int:
    blob, changed_ns = known.get(entry.path, ("", 0))
    return changed_ns if blob == entry.blob else now_ns


def _read(file: Path) -> Times:
    # Another process may be writing the file, or was killed while writing it: if it is unreadable,
    # start with an empty list.
    with suppress(OSError, ValueError):
        return {path: (blob, at) for path, (blob, at) in json.loads(file.read_bytes()).items()}
    return {}


def _write(file: Path, times: Times) -> None:
    # Written in place, since a temporary file could be left behind: a partial list counts as no
    # list. On a full disk, there is no list either.
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(times), encoding="utf-8")
