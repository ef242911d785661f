"""A commit's tree that lives in memory, with git's own blob ids."""

import hashlib
from collections.abc import Collection, Iterator, Mapping

from jobs.errors import KeystoneError
from jobs.rules.repository_values import TreeEntry

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000
PIECE = 64 * 1024


class MemoryTree:
    """Files by path, read like the tree of a commit.

    Attributes:
        reads: the paths whose content was asked for, in that order.
    """

    def __init__(
        self,
        files: Mapping[str, bytes | str],
        *,
        executables: Collection[str] = ("web",),
        links: Mapping[str, str] | None = None,
        submodules: Collection[str] = (),
    ) -> None:
        self._submodules = sorted(submodules)
        self.reads: list[str] = []
        contents = {path: _bytes(content) for path, content in files.items()}
        targets = {path: target.encode() for path, target in (links or {}).items()}
        self._entries = [
            *(_entry(p, c, EXECUTABLE if p in executables else FILE) for p, c in contents.items()),
            *(_entry(path, target, LINK) for path, target in targets.items()),
        ]
        self._contents = {**contents, **targets}

    def entries(self) -> list[TreeEntry]:
        """List every file and link, sorted by path."""
        return sorted(self._entries, key=lambda entry: entry.path)

    def submodules(self) -> list[str]:
        """List the submodules' paths."""
        return self._submodules

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give the content in pieces of at most 64 KiB."""
        self.reads.append(entry.path)
        content = self._contents[entry.path]
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]


def _entry(path: str, content: bytes, mode: int) -> TreeEntry:
    # Git's name for a blob is the hash of this header and the content.
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    # A time for each content, as a mirror would remember it: in the past, the same every time.
    changed_ns = int(blob[:15], 16)
    return TreeEntry(path, mode, len(content), blob, changed_ns)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


class BrokenTree(MemoryTree):
    """A tree with one file that cannot be read."""

    def __init__(
        self, files: Mapping[str, bytes | str], *, broken: str, error: KeystoneError
    ) -> None:
        super().__init__(files)
        self._broken = broken
        self._error = error

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give the content, or raise in the middle of it."""
        if entry.path == self._broken:
            yield b"?"
            raise self._error
        yield from super().read(entry)
