"""Repositories as bare mirrors, which git fills over HTTPS (implements `Source`).

One mirror per repository holds exactly the commits that were requested, each under its own ref
`refs/keystone/SHA`: a commit stays available for rollbacks after a force-push of its branch, and
the next fetch only transfers the changes. The ref, not the object alone, shows that a commit is
complete: git writes the ref last, when all objects of the commit have arrived.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.adapters.git import commands
from jobs.adapters.git.commands import SHA
from jobs.adapters.git.failures import SHOWN_COMPLAINT, Attempt, explain
from jobs.adapters.git.parsing import (
    LONGEST_PATH,
    object_name,
    parse_changes,
    parse_commit,
    parse_remote_refs,
    parse_submodules,
    parse_tags,
    parse_tree,
    too_many_files,
)
from jobs.adapters.git.process import Finished, run
from jobs.adapters.git.times import dated
from jobs.adapters.git.tree import open_tree
from jobs.adapters.ports import Tree
from jobs.errors import CheckoutError, GitError, StorageError
from jobs.rules.redaction import Redactor
from jobs.rules.refs import NEWEST_TAG
from jobs.rules.repository_values import Commit, Remote
from jobs.rules.stopping import StopSignal
from jobs.rules.text import one_line, shown_name
from jobs.system.file_lock import take

LOCK_POLL_S = 0.02
LONGEST_LISTING = 64 * 1024 * 1024
LONGEST_COMMIT = 256 * 1024
# The names of a repository's files: its mirrors, complete or not, and their lock file.
KEPT_FILE = re.compile(r"([1-9][0-9]{0,18})(?:-sha(?:1|256)\.(?:git|new)|\.lock)")


class GitSource:
    """Implements `Source` with the git command line. May be used from several threads.

    Args:
        mirrors_dir: the folder of the mirrors; created when needed.
        allowed_schemes: the allowed schemes of repository URLs.
        timeout_s: the timeout of one fetch, and of the wait for another worker's fetch.
    """

    def __init__(
        self, mirrors_dir: Path, *, allowed_schemes: tuple[str, ...], timeout_s: float = 120
    ) -> None:
        self._mirrors_dir = mirrors_dir.absolute()
        self._allowed_schemes = allowed_schemes
        self._timeout_s = timeout_s
        self._read_last: tuple[Path, Commit] | None = None  # cache: a kept ref and its commit

    def fetch(self, remote: Remote, *, ref: str, sha: str | None, stop: StopSignal) -> str:
        """Make a commit available in the mirror, and give its SHA.

        This takes one request to the server; two for a ref without a SHA, because `git fetch` would
        fetch `refs/heads/refs/heads/x` for `refs/heads/x` when the latter does not exist.
        """
        wanted = _wanted(ref, sha) or self._newest(remote, ref, stop)
        kept = self._kept(remote, wanted)
        if kept is not None:
            return kept.sha
        commands.check_url(remote.url, self._allowed_schemes)
        with _disk_errors(), self._locked(remote, stop):
            # Another worker may have fetched the commit while this worker waited.
            kept = self._kept(remote, wanted)
            return kept.sha if kept else self._fetch(remote, wanted, stop)

    def head(self, remote: Remote, *, ref: str, stop: StopSignal) -> str | None:
        """Ask the server which commit a full ref points to now."""
        commands.check_url(remote.url, self._allowed_schemes)
        if not commands.is_full_ref(ref):
            return None
        finished = self._network(remote, commands.list_remote(remote.url, ref), stop)
        if finished.status != 0:
            raise explain(_complaint(finished, remote), _attempt(remote, ref))
        return parse_remote_refs(finished.output, ref)

    def tags(self, remote: Remote, *, stop: StopSignal) -> dict[str, str]:
        """Ask the server for all tags, by their short names, with the commits they point to."""
        commands.check_url(remote.url, self._allowed_schemes)
        environment = commands.network_environment(remote, self._allowed_schemes)
        finished = run(
            commands.list_tags(remote.url),
            environment,
            stop=stop,
            timeout_s=self._timeout_s,
            most_output=LONGEST_LISTING,
            has_helpers=True,
        )
        if finished.cut:
            raise CheckoutError("the repository has more tags than Keystone reads")
        if finished.status != 0:
            raise explain(_complaint(finished, remote), _attempt(remote, NEWEST_TAG))
        return parse_tags(finished.output)

    def commit(self, remote: Remote, sha: str) -> Commit:
        """Describe a fetched commit."""
        kept = self._kept(remote, sha) if SHA.fullmatch(sha) else None
        if kept is None or kept.sha != sha:
            raise GitError(f"the commit {shown_name(sha)[:64]} has not been fetched")
        return kept

    @contextmanager
    def tree(self, remote: Remote, sha: str, *, folder: str) -> Iterator[Tree]:
        """Open the tree of a fetched commit below `folder`."""
        clean = commands.clean_folder(folder)
        self.commit(remote, sha)
        mirror = self._mirror(remote, sha)
        finished = run(
            commands.list_tree(mirror, sha, clean),
            commands.environment(),
            most_output=LONGEST_LISTING,
        )
        if finished.cut:
            raise too_many_files()
        if finished.status != 0 and clean:
            raise CheckoutError(f"the commit {sha[:7]} has no folder {clean}")
        if finished.status != 0:
            raise GitError(f"the mirror could not list the commit {sha}")
        entries = dated(mirror, clean, parse_tree(finished.output))
        with open_tree(mirror, entries, parse_submodules(finished.output)) as tree:
            yield tree

    def changed(self, remote: Remote, before: str, after: str) -> frozenset[str] | None:
        """Give the paths that differ between two commits, submodules included."""
        mirrors = {self._mirror(remote, sha) for sha in (before, after)}
        kept = [self._kept(remote, sha) for sha in (before, after) if SHA.fullmatch(sha)]
        if len(mirrors) > 1 or [commit and commit.sha for commit in kept] != [before, after]:
            return None
        finished = run(
            commands.list_changes(mirrors.pop(), before, after),
            commands.environment(),
            most_output=LONGEST_LISTING,
        )
        return None if finished.cut or finished.status != 0 else parse_changes(finished.output)

    def kept(self) -> set[int]:
        """Give the ids of the repositories that have files on disk."""
        with _disk_errors():
            return {int(found[1]) for _, found in self._kept_files()}

    def forget(self, repository_id: int) -> None:
        """Delete a repository's files on disk, unless a fetch of it is running."""
        with _disk_errors(), self._lock_file(repository_id).open("wb") as file:
            if not take(file.fileno()):
                return
            for path, found in self._kept_files():
                if int(found[1]) == repository_id and path.is_dir():
                    shutil.rmtree(path)
            # Delete the lock file last: while any file is left, the next attempt finds it.
            self._lock_file(repository_id).unlink(missing_ok=True)

    def _kept_files(self) -> list[tuple[Path, re.Match[str]]]:
        paths = self._mirrors_dir.glob("*")
        return [(path, found) for path in paths if (found := KEPT_FILE.fullmatch(path.name))]

    def _lock_file(self, repository_id: int) -> Path:
        return self._mirrors_dir / f"{repository_id}.lock"

    def _newest(self, remote: Remote, ref: str, stop: StopSignal) -> str:
        sha = self.head(remote, ref=ref, stop=stop)
        if sha is None:
            raise CheckoutError(_attempt(remote, ref).missing)
        return sha

    def _fetch(self, remote: Remote, sha: str, stop: StopSignal) -> str:
        mirror = self._mirror(remote, sha)
        _make_ready(mirror, commands.object_format(sha))
        finished = self._network(remote, commands.fetch(mirror, remote.url, sha), stop)
        if finished.status != 0:
            raise explain(_complaint(finished, remote), _attempt(remote, sha))
        return self._keep(remote, sha)

    def _keep(self, remote: Remote, fetched: str) -> str:
        """Give the SHA of the commit that was fetched, and keep it under that SHA too."""
        commit, mirror = self._kept(remote, fetched), self._mirror(remote, fetched)
        if commit is None:
            repository = _attempt(remote, fetched).repository
            raise CheckoutError(f"{fetched[:7]} of {repository} is not a commit")
        if fetched != commit.sha:
            finished = run(commands.keep_commit(mirror, commit.sha), commands.environment())
            if finished.status != 0:
                raise StorageError(f"the mirror {mirror} could not keep the commit {commit.sha}")
        return commit.sha

    def _network(self, remote: Remote, arguments: list[str], stop: StopSignal) -> Finished:
        environment = commands.network_environment(remote, self._allowed_schemes)
        return run(arguments, environment, stop=stop, timeout_s=self._timeout_s, has_helpers=True)

    def _mirror(self, remote: Remote, sha: str) -> Path:
        """Give the mirror for a SHA: a repository has one mirror for each length of SHA."""
        return self._mirrors_dir / f"{remote.repository_id}-{commands.object_format(sha)}.git"

    def _kept(self, remote: Remote, sha: str) -> Commit | None:
        """Give the commit of a SHA (or of an annotated tag's SHA); None if it is not kept."""
        mirror = self._mirror(remote, sha)
        # A mirror's refs are never packed: each is a file, so its absence can be seen without git.
        ref = mirror / commands.kept_ref(sha)
        if not ref.is_file():
            return None
        last = self._read_last
        if last is not None and last[0] == ref:
            return last[1]
        commit = _read(mirror, sha)
        self._read_last = None if commit is None else (ref, commit)
        return commit

    @contextmanager
    def _locked(self, remote: Remote, stop: StopSignal) -> Iterator[None]:
        """Hold the lock on the repository's mirrors, which excludes writers in all processes."""
        self._mirrors_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock_file(remote.repository_id).open("wb") as file:
            deadline = time.monotonic() + self._timeout_s
            while not take(file.fileno()):
                if time.monotonic() > deadline:
                    raise GitError("another worker has been fetching this repository for too long")
                stop.wait(LOCK_POLL_S)
            yield


def _wanted(ref: str, sha: str | None) -> str | None:
    """Give the full SHA requested; None when the newest commit of a full ref is requested."""
    wanted = sha or ref
    if SHA.fullmatch(wanted.lower()):
        return wanted.lower()
    if commands.SHORT_SHA.fullmatch(wanted.lower()):
        raise CheckoutError(f"{wanted} is not a whole commit SHA; give the full SHA")
    if sha is not None or not commands.is_full_ref(wanted):
        raise CheckoutError(
            f"{shown_name(wanted)[:LONGEST_PATH]} is not a branch, a tag or a commit SHA"
        )
    return None


def _attempt(remote: Remote, wanted: str) -> Attempt:
    repository = shown_name(commands.repository_name(remote.url))
    if SHA.fullmatch(wanted):
        words = f"commit {wanted[:7]}"
        missing = f"{words} is not in {repository} (it may have been force-pushed away)"
    else:
        words = f"the {_ref_in_words(shown_name(wanted))}"
        missing = f"{words} does not exist in {repository}"
    return Attempt(repository, words, missing, has_token=remote.token is not None)


def _ref_in_words(ref: str) -> str:
    for prefix, kind in (("refs/heads/", "branch"), ("refs/tags/", "tag")):
        if ref.startswith(prefix):
            return f"{kind} {ref.removeprefix(prefix)}"
    return f"ref {ref}"


def _complaint(finished: Finished, remote: Remote) -> str:
    secrets = [] if remote.token is None else [remote.token]
    return Redactor(secrets)(finished.complaint.decode("utf-8", "replace"))


def _make_ready(mirror: Path, object_format: str) -> None:
    """Create an empty mirror, or clean up after a killed fetch. The caller holds the lock."""
    if mirror.exists():
        for leftover in _leftovers(mirror):
            leftover.unlink(missing_ok=True)
        return
    # Create it under another name and rename it, so that a mirror that exists is complete.
    draft = mirror.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    finished = run(commands.make_mirror(draft, object_format), commands.environment())
    if finished.status != 0:
        reason = one_line(finished.complaint.decode("utf-8", "replace"))[:SHOWN_COMPLAINT]
        raise StorageError(f"the mirror {mirror} could not be made: {reason}")
    draft.rename(mirror)


def _leftovers(mirror: Path) -> Iterator[Path]:
    yield from mirror.glob("*.lock")
    yield from (mirror / "refs").rglob("*.lock")
    yield from (mirror / "objects" / "pack").glob("tmp_*")


def _read(mirror: Path, sha: str) -> Commit | None:
    """Read the commit kept under a SHA; if the SHA is an annotated tag's, the tag's commit."""
    arguments = commands.read_commit(mirror, sha)
    finished = run(arguments, commands.environment(), most_output=LONGEST_COMMIT)
    if finished.cut:
        name = _resolve(mirror, sha)
    elif finished.status == 0:
        # The result of `git rev-parse`, computed without running git.
        name = object_name(finished.output, commands.object_format(sha))
    else:
        return None
    return None if name is None else parse_commit(name, finished.output)


def _resolve(mirror: Path, sha: str) -> str | None:
    """Give the SHA of a commit that is too long to be read completely."""
    finished = run(commands.resolve_commit(mirror, sha), commands.environment())
    found = finished.output.decode("ascii", "replace").strip()
    return found if finished.status == 0 and SHA.fullmatch(found) else None


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else "unknown"
        raise StorageError(f"the repositories' mirrors cannot be written: {reason}") from exc
