"""When each file of a mirror last changed, as a work tree would know it.

The engine takes a file for unchanged when its size and time are the same, and images keep the
times: web servers tell browsers by them what is new. Git keeps none, so they are kept here: a file
that is the same as at the last look keeps its time, any other one has changed now. Should the list
be lost, every file has changed now, and is sent once more.
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
    """Give the entries with the times their files changed, and remember them."""
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
    # Somebody may be writing it, or have been killed at it: what cannot be read is begun anew.
    with suppress(OSError, ValueError):
        return {path: (blob, at) for path, (blob, at) in json.loads(file.read_bytes()).items()}
    return {}


def _write(file: Path, times: Times) -> None:
    # In place: half a list is none, and a draft would be left behind. So is none on a full disk.
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(times))
