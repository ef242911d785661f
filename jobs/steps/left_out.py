"""Says which parts of a commit a build did not get: submodules, and files kept by Git LFS.

Neither is an error by itself: the log has a warning, and the reason of a failure names them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from jobs.adapters.ports import Tree
from jobs.deployment.work import Work
from jobs.errors import DeploymentError, KeystoneError
from jobs.rules.left_out import (
    POINTER,
    POINTER_SIZES,
    fits,
    lfs_patterns,
    pointers_left,
    submodules_left_out,
)
from jobs.rules.repository_values import TreeEntry

ATTRIBUTES = ".gitattributes"
LARGEST_ATTRIBUTES = 64 * 1024  # bytes
MOST_READ = 50  # files that may be pointers
MOST_COMPARED = 2000  # files of a pointer's size; comparing one with 200 patterns takes about 1 ms


def left_out(tree: Tree) -> list[str]:
    """Give a sentence for each kind of files that the tree does not have.

    Raises:
        GitError: the tree cannot be read.
    """
    return [*filter(None, (submodules_left_out(tree.submodules()), pointers_left(_pointers(tree))))]


@contextmanager
def left_out_is_told(tree: Tree) -> Iterator[None]:
    """Add what the tree does not have to the reason of a failure."""
    try:
        yield
    except DeploymentError as exc:
        _add(exc, tree)
        raise


@contextmanager
def left_out_of_commit_is_told(work: Work, sha: str) -> Iterator[None]:
    """Add what an image's commit does not have to the reason of a failure of its container."""
    try:
        yield
    except DeploymentError as exc:
        folder = work.plan.recipe.build.context
        # Only an explanation: the commit of an earlier release may not be in the mirror any more.
        with (
            suppress(KeystoneError),
            work.tools.source.tree(work.plan.remote, sha, folder=folder) as tree,
        ):
            _add(exc, tree)
        raise


def _add(failure: DeploymentError, tree: Tree) -> None:
    with suppress(KeystoneError):
        # Changed in place: the error keeps its type and the facts in its attributes.
        failure.args = ("; ".join([str(failure), *left_out(tree)]),)


def _pointers(tree: Tree) -> list[str]:
    entries = tree.entries()
    small = [entry for entry in entries if entry.size in POINTER_SIZES][:MOST_COMPARED]
    if not small:
        return []
    attributes = next((entry for entry in entries if entry.path == ATTRIBUTES), None)
    if attributes is not None and attributes.size <= LARGEST_ATTRIBUTES:
        patterns = lfs_patterns(_content(tree, attributes).decode(errors="replace"))
        # A context that is a folder of the repository may lack the file with the patterns.
        small = [entry for entry in small if fits(entry.path, patterns)] if patterns else small
    return [each.path for each in small[:MOST_READ] if _content(tree, each).startswith(POINTER)]


def _content(tree: Tree, entry: TreeEntry) -> bytes:
    return b"".join(tree.read(entry))
