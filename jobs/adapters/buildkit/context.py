"""Selects the files of a tree that are sent to the engine, and describes them.

The engine keeps the files of an app's last build, compares their descriptions (mainly size and
modification time), and requests the content of the files that differ.

Source: fsutil's `Stat`, `Filter` and `FollowLinks` (github.com/tonistiigi/fsutil), read 2026-11-20.
"""

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from jobs.adapters.buildkit import wire
from jobs.adapters.buildkit.effort import Effort, matches_for, never
from jobs.adapters.buildkit.no_dockerfile import no_dockerfile
from jobs.adapters.buildkit.patterns import Patterns, exactly_fitting
from jobs.adapters.ports import Tree
from jobs.errors import BuildError
from jobs.rules.repository_values import TreeEntry

SYMLINK, EXECUTABLE = 0o120000, 0o100755
# Go's mode bits for folders and symbolic links; the other bits are the usual Unix permissions.
GO_FOLDER, GO_SYMLINK = 1 << 31, 1 << 27
FOLDER_MODE, FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE = 0o755, 0o644, 0o755, 0o777
LONGEST_LINK = 4096  # bytes; Linux's own limit
LONGEST_PATH = 4096  # characters; Linux allows no more bytes
IGNORE_FILE = ".dockerignore"
LARGEST_TEXT = 1024 * 1024  # bytes
MOST_TURNS = 40  # symbolic links in one path resolution; Linux's own limit
MOST_PATHS_FOLLOWED = 2000
TOO_MANY_LINKS = "the symbolic links in the commit lead to too many places"
# Characters of all folders' paths together. A commit can contain one deep folder in a thousand
# places and still be small, because git stores it once.
LARGEST_FOLDERS = 64 * 1024 * 1024

# The modification time of all folders and links, which the engine does not compare: 2000-01-01.
EPOCH_NS = 946_684_800 * 10**9


@dataclass(frozen=True)
class Filters:
    """The engine's selection of files, as in its request."""

    include: tuple[str, ...] = ()  # empty: everything
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()  # like `include`, and includes the targets of symbolic links


@dataclass(frozen=True)
class Node:
    """One item to send: a file or link with its tree entry, or a folder without one."""

    path: str
    entry: TreeEntry | None
    target: str = ""  # of a symbolic link

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.entry is not None and self.entry.mode == SYMLINK

    @property
    def permissions(self) -> int:
        """The mode's permission bits; git only stores whether a file is executable."""
        if self.entry is None:
            return FOLDER_MODE
        if self.is_link:
            return SYMLINK_MODE
        return EXECUTABLE_MODE if self.entry.mode == EXECUTABLE else FILE_MODE

    def stat(self) -> bytes:
        """Encode the description as fsutil does."""
        if self.entry is None:
            return self._stat(GO_FOLDER | self.permissions, size=0, mtime_ns=EPOCH_NS)
        if self.is_link:
            return self._stat(GO_SYMLINK | self.permissions, size=0, mtime_ns=EPOCH_NS)
        return self._stat(self.permissions, size=self.entry.size, mtime_ns=self.entry.changed_ns)

    def _stat(self, mode: int, *, size: int, mtime_ns: int) -> bytes:
        path, kind = wire.text(1, self.path), wire.number(2, mode)
        times = wire.number(5, size) + wire.number(6, mtime_ns)
        return path + kind + times + (wire.text(7, self.target) if self.target else b"")


class Context:
    """The files of one tree, to select from. Entries and links are read only once.

    Thread-safe: concurrent threads compute the same cached values, which are only ever added.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._targets: dict[str, str] = {}  # of the symbolic links that were read

    def select(self, filters: Filters, given_up: Callable[[], bool] = never) -> list[Node]:
        """Give the items that pass the filters, in the order that the engine requires.

        A folder is included when it passes itself or contains an item that does. This may take
        seconds.

        Args:
            filters: the engine's selection.
            given_up: whether the caller no longer waits; the selection then soon raises an error.

        Raises:
            BuildError: a pattern or a symbolic link is invalid, there are too many of them, or the
                caller has given up.
        """
        effort = Effort(given_up)
        included = self._included(filters, effort)
        excluded = self._patterns(filters.exclude, effort)
        wanted = {*self._entries, *self._folders}
        if included is not None:
            wanted = included.fitting(wanted, effort.check)
        wanted -= excluded.fitting(wanted, effort.check)
        wanted |= _folders_of(wanted)
        return [self._node(path) for path in effort.each(sorted(wanted, key=_order))]

    @cached_property
    def _entries(self) -> dict[str, TreeEntry]:
        entries = {entry.path: entry for entry in self._tree.entries()}
        longest = max(entries, key=len, default="")
        if len(longest) > LONGEST_PATH:
            raise BuildError(
                f"the path {longest[:40]}… in the commit is longer than {LONGEST_PATH} characters"
            )
        return entries

    @cached_property
    def _folders(self) -> set[str]:
        return _folders_of(self._entries)

    @cached_property
    def _characters(self) -> int:
        return sum(map(len, self._entries)) + sum(map(len, self._folders))

    def _node(self, path: str) -> Node:
        entry = self._entries.get(path)
        is_link = entry is not None and entry.mode == SYMLINK
        return Node(path, entry, self._target(path) if is_link else "")

    def _target(self, link: str) -> str:
        if link not in self._targets:
            self._targets[link] = self._read_link(self._entries[link])
        return self._targets[link]

    def _read_link(self, entry: TreeEntry) -> str:
        if entry.size > LONGEST_LINK:
            raise BuildError(f"the symbolic link {entry.path} is longer than {LONGEST_LINK} bytes")
        return b"".join(self._tree.read(entry)).decode(errors="surrogateescape")

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give a file's content in chunks."""
        return self._tree.read(entry)

    def text(self, path: str) -> str:
        """Give the content of a small file; empty when there is no such file.

        Raises:
            BuildError: the file is larger than `LARGEST_TEXT`.
        """
        entry = self._entries.get(_clean(path))
        if entry is None or entry.mode == SYMLINK:
            return ""
        if entry.size > LARGEST_TEXT:
            raise BuildError(f"{path} is larger than {LARGEST_TEXT // 1024} KiB")
        return b"".join(self._tree.read(entry)).decode(errors="surrogateescape")

    def has(self, path: str) -> bool:
        """Whether the tree has a file or a folder of that path."""
        return _clean(path) in self._entries or _clean(path) in self._folders

    def other_spelling(self, path: str) -> str:
        """Give a file or folder whose path differs in upper and lower case only; "": none."""
        wanted = _clean(path).casefold()
        every = chain(self._entries, self._folders)
        return next((found for found in every if found.casefold() == wanted), "")

    def submodule_of(self, path: str) -> str:
        """Give the submodule that a path is in; "" when it is in none."""
        wanted = f"{_clean(path)}/"
        found = (each for each in self._tree.submodules() if wanted.startswith(f"{each}/"))
        return next(found, "")

    def ignore_file(self, dockerfile: str) -> str:
        """Give the path of the .dockerignore that counts for a Dockerfile."""
        own = f"{dockerfile}{IGNORE_FILE}"
        return own if self.has(own) else IGNORE_FILE

    def ensure_dockerfile(self, path: str) -> None:
        """Check that the Dockerfile is a file of the tree.

        Raises:
            BuildError: the Dockerfile does not exist, or is a symbolic link.
        """
        entry = self._entries.get(_clean(path))
        if entry is None:
            raise BuildError(no_dockerfile(path, self._entries))
        if entry.mode == SYMLINK:
            raise BuildError(f"the Dockerfile at {path} is a symbolic link; commit the file itself")

    def _patterns(self, patterns: Collection[str], effort: Effort) -> Patterns:
        """Parse the patterns, if the budget allows matching them against every path of the tree."""
        paths = len(self._entries) + len(self._folders)
        effort.spend(
            matches_for(patterns, paths, self._characters),
            f"the {len(patterns)} patterns of .dockerignore, or of what COPY names, are too many "
            f"for the commit's {paths} files and folders; say it with fewer patterns",
        )
        return Patterns(effort.each(patterns))

    def _included(self, filters: Filters, effort: Effort) -> Patterns | None:
        """Give the patterns of the wanted paths; None when everything is wanted."""
        paths = {_clean(path) for path in filters.include}
        paths |= self._followed(filters.follow, effort)
        return self._patterns(sorted(paths), effort) if paths and "" not in paths else None

    def _followed(self, paths: Iterable[str], effort: Effort) -> set[str]:
        """Give the paths, the symbolic links on the way to them, and the links' targets."""
        wanted: set[str] = set()
        followed: set[str] = set()
        waiting = [(_clean(path), 0) for path in paths]
        for _ in range(MOST_PATHS_FOLLOWED):
            if not waiting:
                return wanted | followed
            path, turns = waiting.pop()
            # A path that is too long cannot exist.
            if path not in followed and turns <= MOST_TURNS and len(path) <= LONGEST_PATH:
                followed.add(path)
                for link, destination in effort.each(self._turns(path, effort)):
                    wanted.add(link)
                    waiting.append((destination, turns + 1))
        raise BuildError(TOO_MANY_LINKS)

    def _turns(self, path: str, effort: Effort) -> Iterator[tuple[str, str]]:
        """Give each symbolic link in a path, and the path after resolving that link."""
        parts = path.split("/")
        for depth, links in self._links_by_depth.items():
            pattern = "/".join(parts[:depth])
            size = sum(map(len, links))
            effort.spend(matches_for([pattern], len(links), size), TOO_MANY_LINKS)
            for link in exactly_fitting(pattern, links):
                beyond = posixpath.join(posixpath.dirname(link), self._target(link), *parts[depth:])
                yield link, _clean(beyond)

    @cached_property
    def _links_by_depth(self) -> dict[int, list[str]]:
        by_depth: dict[int, list[str]] = {}
        for entry in self._entries.values():
            if entry.mode == SYMLINK:
                by_depth.setdefault(entry.path.count("/") + 1, []).append(entry.path)
        return by_depth


def _clean(path: str) -> str:
    """Make a path relative to the tree's root, and keep it inside the root."""
    return posixpath.normpath(f"/{path}").lstrip("/")


def _order(path: str) -> bytes:
    """Give a sort key that orders by bytes, with a folder's content directly after the folder."""
    # A slash sorts first as a zero byte: no path contains one, and no byte is smaller.
    return path.encode(errors="surrogateescape").replace(b"/", b"\0")


def _folders_of(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    room = LARGEST_FOLDERS
    for path in paths:
        folder = posixpath.dirname(path)
        while folder and folder not in found:
            found.add(folder)
            room -= len(folder)
            folder = posixpath.dirname(folder)
        if room < 0:
            raise BuildError("the commit has too many folders, in one another, to build from it")
    return found
