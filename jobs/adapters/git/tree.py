"""Reads the files of one commit from the mirror, without a checkout on disk."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.adapters.git import commands
from jobs.adapters.git.process import PIECE, kill, receive, running
from jobs.errors import GitError
from jobs.rules.repository_values import TreeEntry

# Files up to this size are read at once, so that a slow reader does not block other readers.
LARGEST_WHOLE = 1024 * 1024
ANSWER_TIMEOUT_S = 30.0


@contextmanager
def open_tree(
    mirror: Path, entries: list[TreeEntry], submodules: Sequence[str] = ()
) -> Iterator["GitTree"]:
    """Open the tree with one `git cat-file --batch` process, which ends with the block."""
    arguments = commands.serve_blobs(mirror)
    with running(arguments, commands.environment(), stdin=subprocess.PIPE) as batch:
        yield GitTree(mirror, entries, batch, submodules)


class GitTree:
    """Implements `Tree`.

    One long-lived git process reads the small files, one request and one answer at a time; each
    large file has its own git process. So a reader that stops early leaves no half-read answer
    behind.
    """

    def __init__(
        self,
        mirror: Path,
        entries: list[TreeEntry],
        batch: subprocess.Popen[bytes],
        submodules: Sequence[str] = (),
    ) -> None:
        self._submodules = list(submodules)
        self._mirror = mirror
        self._entries = entries
        self._batch = batch
        self._lock = threading.Lock()

    def submodules(self) -> list[str]:
        """List the paths of the submodules, sorted; only some if there are many."""
        return self._submodules

    def entries(self) -> list[TreeEntry]:
        """List every file and link, sorted by path."""
        return list(self._entries)

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give a file's content in chunks of at most 64 KiB.

        Raises:
            GitError: the mirror is damaged, or the tree was closed.
        """
        if entry.size > LARGEST_WHOLE:
            yield from self._stream(entry)
            return
        content = self._ask(entry)
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    def _ask(self, entry: TreeEntry) -> bytes:
        with self._lock:
            try:
                return self._answer(entry)
            except (GitError, OSError, ValueError) as exc:
                # Kill git: data still in the pipe would be taken for the next answer.
                kill(self._batch)
                raise GitError(f"the mirror could not give the file {entry.path!r}") from exc

    def _answer(self, entry: TreeEntry) -> bytes:
        self._write(f"{entry.blob}\n".encode())
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        answer = bytearray()
        head = f"{entry.blob} blob {entry.size}\n".encode()
        wanted = len(head) + entry.size + 1
        # An answer has the size from the listing, or it is one short line with an error.
        while len(answer) < wanted and answer.startswith(head[: len(answer)]):
            piece = receive(self._batch, deadline)
            if not piece:
                raise GitError("git ended")
            answer += piece
        if len(answer) != wanted or not answer.startswith(head):
            raise GitError("git gave something else")
        return bytes(answer[len(head) : -1])

    def _write(self, line: bytes) -> None:
        if self._batch.stdin is None:  # pragma: no cover
            raise GitError("git was started without a pipe")
        self._batch.stdin.write(line)

    def _stream(self, entry: TreeEntry) -> Iterator[bytes]:
        arguments = commands.read_blob(self._mirror, entry.blob)
        left = entry.size
        with running(arguments, commands.environment()) as process:
            while piece := receive(process, time.monotonic() + ANSWER_TIMEOUT_S):
                left -= len(piece)
                yield piece
        if left:
            raise GitError(f"the mirror could not give the file {entry.path!r}")
