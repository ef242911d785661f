"""Parses git's output: refs, commits, trees. Pure; all input is untrusted."""

import hashlib
import re
from itertools import islice

from jobs.adapters.git.commands import SHA
from jobs.errors import CheckoutError, GitError
from jobs.rules.refs import TAG_PREFIX
from jobs.rules.repository_values import Commit, TreeEntry
from jobs.rules.text import several_lines, shown_name

MOST_ENTRIES = 200_000
MOST_SUBMODULES = 100
LONGEST_MESSAGE = 2000
LONGEST_AUTHOR = 200
LONGEST_PATH = 200  # characters of a path that an error quotes
LINK = 0o120000
EXECUTABLE = 0o100755
PLAIN = 0o100644
GITLINK = b"160000 commit "

_AUTHOR = re.compile(rb"^author (.*?) ?<[^<>\n]*>", re.MULTILINE)
_ENTRY = re.compile(rb"(\d{6}) (blob|commit) ([0-9a-f]{40,64}) +(\d+|-)\t(.+)", re.DOTALL)


def parse_remote_refs(output: bytes, ref: str) -> str | None:
    """Find the commit of exactly this ref in the output of `git ls-remote`."""
    return _remote_refs(output).get(ref.encode())


def parse_tags(output: bytes) -> dict[str, str]:
    """Give the commit of each tag in the output of `git ls-remote`, by the tag's short name."""
    found = ((_as_text(name), sha) for name, sha in _remote_refs(output).items())
    return {n.removeprefix(TAG_PREFIX): sha for n, sha in found if n and n.startswith(TAG_PREFIX)}


def _remote_refs(output: bytes) -> dict[bytes, str]:
    """Give the commit of each ref.

    An annotated tag has two lines; the one that ends in `^{}` comes last, and names the commit.
    """
    found: dict[bytes, str] = {}
    for line in output.splitlines():
        sha, tab, name = line.partition(b"\t")
        if tab and SHA.fullmatch(sha.decode("ascii", "replace")):
            found[name.removesuffix(b"^{}")] = sha.decode("ascii")
    return found


def _as_text(name: bytes) -> str:
    """Give a ref's name; empty if it is not UTF-8, in which GitHub names refs."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return ""


def object_name(content: bytes, object_format: str) -> str:
    """Compute the SHA of a complete commit object, as git does."""
    whole = b"commit %d\0%b" % (len(content), content)
    return hashlib.new(object_format, whole, usedforsecurity=False).hexdigest()


def parse_commit(sha: str, content: bytes) -> Commit:
    """Parse a commit object as git stores it, which may be truncated."""
    head, _, message = content.partition(b"\n\n")
    author = _AUTHOR.search(head)
    return Commit(
        sha=sha,
        message=several_lines(message.decode("utf-8", "replace"))[:LONGEST_MESSAGE].strip(),
        author=shown_name(author[1].decode("utf-8", "replace") if author else "")[:LONGEST_AUTHOR],
    )


def parse_tree(output: bytes) -> list[TreeEntry]:
    """Parse the output of `git ls-tree -r -z -l`; submodules are left out.

    Raises:
        CheckoutError: there are more files than Keystone reads, or an invalid file name.
        GitError: the output is not a listing.
    """
    lines = output.split(b"\0")
    if lines.pop():
        raise GitError("git's listing of the commit's files breaks off")
    if len(lines) > MOST_ENTRIES:
        raise too_many_files()
    entries = (_parse_entry(line) for line in lines)
    return sorted((entry for entry in entries if entry), key=lambda entry: entry.path)


def parse_changes(output: bytes) -> frozenset[str]:
    """Parse the output of `git diff-tree -z --name-only`."""
    return frozenset(output.decode("utf-8", "replace").split("\0")) - {""}


def parse_submodules(output: bytes) -> list[str]:
    """Give the paths of the submodules in the output of `git ls-tree`, at most 100."""
    found = (line.partition(b"\t") for line in output.split(b"\0") if line.startswith(GITLINK))
    paths = (path.decode("utf-8", "replace") for _, _, path in islice(found, MOST_SUBMODULES))
    return sorted(paths)


def too_many_files() -> CheckoutError:
    """Give the error for a commit with more files than Keystone reads."""
    return CheckoutError(f"the commit has more files than Keystone reads ({MOST_ENTRIES})")


def _parse_entry(line: bytes) -> TreeEntry | None:
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise GitError("git's listing of the commit's files cannot be read")
    mode, kind, blob, size, path = match.groups()
    if kind == b"commit":
        return None
    return TreeEntry(
        path=_path(path), mode=_mode(int(mode, 8)), size=int(size), blob=blob.decode("ascii")
    )


def _path(raw: bytes) -> str:
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        shown = shown_name(raw.decode("utf-8", "replace"))[:LONGEST_PATH]
        raise CheckoutError(f"the file name {shown} is not UTF-8; rename the file") from None
    if {"", ".", ".."} & set(path.split("/")):
        raise CheckoutError(
            f"the commit has a file with an unsafe name: {shown_name(path)[:LONGEST_PATH]}"
        )
    return path


def _mode(mode: int) -> int:
    if mode == LINK:
        return LINK
    return EXECUTABLE if mode & 0o100 else PLAIN  # old histories also contain 0o100664
