"""Reading files straight from the mirror: large ones, interrupted ones, damaged ones."""

import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from jobs.adapters.git.source import GitSource
from jobs.adapters.git.tree import LARGEST_WHOLE
from jobs.adapters.ports import Tree
from jobs.errors import GitError
from jobs.rules.repository_values import Remote, TreeEntry
from jobs.rules.stopping import StopSignal
from tests.gitserver import Repo
from tests.processes import processes_about

PIECE = 64 * 1024
HUGE = 50 * 1024 * 1024
FILES = {
    "empty": b"",
    "huge": b"h" * HUGE,
    "medium": bytes(range(256)) * 2000,
    "small": b"newlines\n\n and \0 zeros\n",
    "whole": b"w" * LARGEST_WHOLE,
}


@pytest.fixture(name="mirrors", scope="module")
def fixture_mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tree") / "mirrors"


@pytest.fixture(name="mirrored", scope="module")
def fixture_mirrored(mirrors: Path) -> Callable[[], AbstractContextManager[Tree]]:
    """Mirror a repository once for all tests, which only read it; give what opens its tree."""
    repo = Repo(mirrors.with_name("web.git"))
    sha = repo.commit(FILES)
    source, remote = GitSource(mirrors, allowed_schemes=("file",)), Remote(1, repo.url)
    source.fetch(remote, ref="refs/heads/main", sha=None, stop=StopSignal())
    return partial(source.tree, remote, sha, folder=".")


@pytest.fixture(name="tree")
def fixture_tree(mirrored: Callable[[], AbstractContextManager[Tree]]) -> Iterator[Tree]:
    with mirrored() as tree:
        yield tree


def entry_of(tree: Tree, path: str) -> TreeEntry:
    return next(entry for entry in tree.entries() if entry.path == path)


def content(tree: Tree, path: str) -> bytes:
    return b"".join(tree.read(entry_of(tree, path)))


def test_every_file_comes_out_as_it_went_in(tree: Tree) -> None:
    assert {entry.path: content(tree, entry.path) for entry in tree.entries()} == FILES


def test_a_huge_file_comes_in_small_pieces_and_is_never_held_whole(tree: Tree) -> None:
    huge = entry_of(tree, "huge")
    assert huge.size == HUGE
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in tree.read(huge)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == HUGE
    assert max(sizes) <= PIECE
    assert peak < 2 * 1024 * 1024


@pytest.mark.parametrize("path", ["huge", "whole", "medium"])
def test_a_reader_that_stops_early_disturbs_nobody(tree: Tree, path: str) -> None:
    abandoned = [tree.read(entry_of(tree, path)) for _ in range(3)]
    begun = [next(pieces) for pieces in abandoned]
    assert content(tree, "small") == FILES["small"]
    assert content(tree, "medium") == FILES["medium"]
    assert b"".join([begun[0], *abandoned[0]]) == FILES[path]


def test_large_and_small_files_are_read_at_the_same_time(tree: Tree) -> None:
    wanted = [*FILES] * 4
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda path: len(content(tree, path)), wanted))
    assert sizes == [len(FILES[path]) for path in wanted]


@pytest.mark.parametrize("size", [5, 5_000_000])
def test_a_file_the_mirror_does_not_have_is_a_git_error(tree: Tree, size: int) -> None:
    with pytest.raises(GitError, match="could not give the file 'ghost'"):
        list(tree.read(TreeEntry("ghost", 0o100644, size, "1" * 40)))


def test_a_listing_that_disagrees_with_the_mirror_is_a_git_error(tree: Tree) -> None:
    small = entry_of(tree, "small")
    for size in (small.size + 1, small.size - 1, 5_000_000):
        with pytest.raises(GitError, match="could not give the file"):
            list(tree.read(TreeEntry("small", small.mode, size, small.blob)))


def test_a_closed_tree_gives_nothing_and_leaves_no_git(
    mirrored: Callable[[], AbstractContextManager[Tree]], mirrors: Path
) -> None:
    with mirrored() as tree:
        begun = tree.read(entry_of(tree, "huge"))
        next(begun)
        assert processes_about(str(mirrors))
    with pytest.raises(GitError):
        content(tree, "small")
    begun.close()  # type: ignore[attr-defined]
    assert processes_about(str(mirrors)) == []
