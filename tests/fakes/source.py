"""In-memory repositories, and the git server that serves them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from jobs.adapters.ports import Tree
from jobs.errors import CheckoutError, GitError, RepositoryDeniedError
from jobs.rules.repository_values import Commit, Remote
from jobs.rules.stopping import StopSignal
from tests.fakes.scripted import Scripted
from tests.trees import MemoryTree


@dataclass
class FakeRepository:
    """A repository's commits and refs."""

    token: str | None = None  # the token to read it; None: public
    commits: dict[str, tuple[Commit, dict[str, bytes | str]]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        files: Mapping[str, bytes | str],
        *,
        message: str = "Change something",
        branch: str = "main",
    ) -> str:
        """Add a commit to a branch and give its SHA."""
        told = f"{len(self.commits)} {branch} {message} {sorted(files)}"
        sha = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = (Commit(sha, message, "Ada Lovelace <ada@example.org>"), dict(files))
        self.refs[f"refs/heads/{branch}"] = sha
        return sha


class FakeSource(Scripted):
    """Repositories by their URL.

    Tests can set `down`, the `token` of each repository, and an act for fetch, head, commit and
    tree. `mirrored` has the ids of the repositories that were fetched.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        super().__init__(journal)
        self.repositories: dict[str, FakeRepository] = {}
        self.down = False
        self.mirrored: set[int] = set()

    def fetch(self, remote: Remote, *, ref: str, sha: str | None, stop: StopSignal) -> str:
        """Fetch a ref or a commit, and give the commit's SHA."""
        self._called("fetch", ref)
        stop.check()
        repository = self._open(remote)
        found = sha or repository.refs.get(ref) or (ref if ref in repository.commits else None)
        if found not in repository.commits:
            raise CheckoutError(f"{remote.url} has no {sha or ref}")
        self.mirrored.add(remote.repository_id)
        return str(found)

    def head(self, remote: Remote, *, ref: str, stop: StopSignal) -> str | None:
        """Give the commit that a ref points to, or None."""
        self._called("head", ref)
        stop.check()
        return self._open(remote).refs.get(ref)

    def tags(self, remote: Remote, *, stop: StopSignal) -> dict[str, str]:
        """Give the commits of all tags by their short names."""
        self._called("tags")
        stop.check()
        prefix = "refs/tags/"
        refs = self._open(remote).refs.items()
        return {ref.removeprefix(prefix): sha for ref, sha in refs if ref.startswith(prefix)}

    def commit(self, remote: Remote, sha: str) -> Commit:
        """Describe a commit."""
        self._called("commit", sha)
        return self.repositories[remote.url].commits[sha][0]

    @contextmanager
    def tree(self, remote: Remote, sha: str, *, folder: str) -> Iterator[Tree]:
        """Open the tree below a folder."""
        self._called("tree", folder)
        files = self.repositories[remote.url].commits[sha][1]
        prefix = "" if folder == "." else f"{folder.rstrip('/')}/"
        inside = {p.removeprefix(prefix): c for p, c in files.items() if p.startswith(prefix)}
        if not inside:
            raise CheckoutError(f"the commit has no folder {folder}")
        yield MemoryTree(inside)

    def changed(self, remote: Remote, before: str, after: str) -> frozenset[str] | None:
        """Give the paths that differ between two commits."""
        self._called("changed", after)
        commits = self.repositories[remote.url].commits
        if before not in commits or after not in commits:
            return None
        one, other = (commits[sha][1] for sha in (before, after))
        return frozenset(path for path in {*one, *other} if one.get(path) != other.get(path))

    def kept(self) -> set[int]:
        """Give the ids of the repositories that were fetched."""
        return set(self.mirrored)

    def forget(self, repository_id: int) -> None:
        """Remove a repository from the fetched ones."""
        self._called("forget", repository_id)
        self.mirrored.discard(repository_id)

    def _open(self, remote: Remote) -> FakeRepository:
        if self.down:
            raise GitError(f"{remote.url} cannot be reached")
        repository = self.repositories.get(remote.url)
        if repository is None:
            raise RepositoryDeniedError(f"there is no repository at {remote.url}")
        given = remote.token.get_secret_value() if remote.token else None
        if repository.token not in {None, given}:
            raise RepositoryDeniedError(f"{remote.url} refuses the token")
        return repository
