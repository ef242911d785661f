"""The parts of a commit that are not among its files: submodules, and files kept by Git LFS. Pure.

Keystone fetches neither. A build gets an empty folder for a submodule, and a short pointer for each
LFS file, without any error.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md (read 2026-12-01).
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from jobs.rules.text import shown_name

POINTER = b"version https://git-lfs.github.com/spec/v1\n"
# Bytes of a pointer: its version, a SHA-256, and a size of 1 to 18 digits.
POINTER_SIZES = range(126, 146)
MOST_PATTERNS = 200
LONGEST_PATTERN = 200
LONGEST_NAME = 80

_SUBMODULES = (
    "Keystone does not fetch submodules; add the files to the repository (`git subtree add`), or "
    "fetch them in the Dockerfile"
)
_LFS = (
    "Keystone does not fetch LFS files; commit the file itself (`git lfs migrate export`), or "
    "fetch it in the Dockerfile"
)


def lfs_patterns(attributes: str) -> list[str]:
    """Give the patterns of a .gitattributes file whose files are kept by Git LFS."""
    lines = (line.split() for line in attributes.splitlines() if "filter=lfs" in line)
    patterns = [words[0].strip('"') for words in lines if "filter=lfs" in words[1:]]
    return [each for each in patterns if len(each) <= LONGEST_PATTERN][:MOST_PATTERNS]


def fits(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path may be meant by one of the patterns; a `*` also passes over slashes here."""
    name = path.rpartition("/")[2]
    return any(
        fnmatchcase(path if "/" in pattern.rstrip("/") else name, pattern.lstrip("/"))
        for pattern in patterns
    )


def submodules_left_out(paths: Sequence[str]) -> str:
    """Say that submodules are not there; "" without any."""
    if not paths:
        return ""
    one, many = "the submodule {} was", "the submodules {} were"
    return f"{_named(paths, one, many)} not checked out: {_SUBMODULES}"


def pointers_left(paths: Sequence[str]) -> str:
    """Say that files are only pointers of Git LFS; "" without any."""
    if not paths:
        return ""
    one, many = "{} is a Git LFS pointer", "{} are Git LFS pointers"
    return f"{_named(paths, one, many)} instead of the content: {_LFS}"


def _named(paths: Sequence[str], one: str, many: str) -> str:
    first = shown_name(paths[0])[:LONGEST_NAME]
    if len(paths) == 1:
        return one.format(first)
    return many.format(f"{first} and {len(paths) - 1} more")
