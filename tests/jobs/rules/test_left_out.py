"""Submodules and pointers of Git LFS, which are not among a commit's files."""

import time

import pytest

from jobs.rules.left_out import POINTER, POINTER_SIZES, fits, lfs_patterns
from jobs.rules.left_out import pointers_left as pointers
from jobs.rules.left_out import submodules_left_out as submodules


def test_pointers_of_every_size_are_looked_at() -> None:
    for size in (0, 1, 123456, 10**18 - 1):
        pointer = POINTER + b"oid sha256:" + b"a" * 64 + b"\nsize %d\n" % size
        assert len(pointer) in POINTER_SIZES


def test_patterns_of_lfs() -> None:
    text = '*.bin filter=lfs diff=lfs -text\n# *.x filter=lfs-not\n*.txt text\n"m/**" filter=lfs\n'

    assert lfs_patterns(text) == ["*.bin", "m/**"]
    assert lfs_patterns("*.bin filter=other") == []


@pytest.mark.parametrize(
    ("path", "pattern", "is_meant"),
    [
        ("a/b.bin", "*.bin", True),
        ("models/deep/b", "models/**", True),
        ("models/b", "/models/*", True),
        ("a/b.txt", "*.bin", False),
    ],
)
def test_pattern_means_paths(path: str, pattern: str, is_meant: bool) -> None:  # noqa: FBT001
    assert fits(path, [pattern]) is is_meant


def test_hostile_patterns_cost_little() -> None:
    patterns = lfs_patterns("\n".join(["*a" * 99 + " filter=lfs"] * 10_000))
    started = time.process_time()

    assert not fits("a" * 4000 + "b", patterns)
    assert time.process_time() - started < 10


def test_sentences() -> None:
    assert submodules([]) == pointers([]) == ""
    assert submodules(["themes/ananke"]).startswith(
        "the submodule themes/ananke was not checked out: Keystone does not fetch submodules"
    )
    assert submodules(["a", "b", "c"]).startswith("the submodules a and 2 more were not checked")
    assert pointers(["m.bin"]).startswith("m.bin is a Git LFS pointer instead of the content: ")
    assert pointers(["m.bin", "n.bin"]).startswith("m.bin and 1 more are Git LFS pointers instead")
