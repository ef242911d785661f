"""What every `Source` promises, on a real git server."""

import fcntl
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.git.source import GitSource
from jobs.adapters.ports import Source, Tree
from jobs.errors import CancelledError, CheckoutError, GitError, RepositoryDeniedError
from jobs.rules.repository_values import Remote, TreeEntry
from jobs.rules.stopping import StopSignal
from tests.gitserver import Executable, Fault, GitServer, Link, Removed, Repo, Submodule

TOKEN = "ghp_SourceContract0123456789"
MAIN = "refs/heads/main"
PLAIN = {"Content-Type": "text/plain"}
ODD_BRANCHES = (
    "--upload-pack=touch${IFS}pwned",
    "$(touch${IFS}pwned)",
    "`touch${IFS}pwned`",
    "-x",
    "--output=pwned",
    "a;b|c&d",
    'it\'s-"quoted"',
    "<script>alert(1)</script>",
    "feature/ünïcode-🚀",
    "a\u202eb",
    "HEAD",
    "@",
    "a%2fb",
    "refs/heads/main",
    "0" * 40,
    "x" * 200,
)


@pytest.fixture(name="server")
def fixture_server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served", token=TOKEN) as server:
        yield server


@pytest.fixture(name="repo")
def fixture_repo(server: GitServer) -> Repo:
    repo = server.repository("octo/web")
    repo.commit({"Dockerfile": "FROM scratch\n"}, message="Begin")
    return repo


@pytest.fixture(name="source")
def fixture_source(tmp_path: Path) -> Source:
    return GitSource(tmp_path / "mirrors", allowed_schemes=("http",), timeout_s=120)


@pytest.fixture(name="remote")
def fixture_remote(repo: Repo) -> Remote:
    return Remote(7, repo.url, SecretStr(TOKEN))


def fetch(source: Source, remote: Remote, ref: str = MAIN, sha: str | None = None) -> str:
    return source.fetch(remote, ref=ref, sha=sha, stop=StopSignal())


def content(tree: Tree, path: str) -> bytes:
    return b"".join(tree.read(entry_of(tree, path)))


def entry_of(tree: Tree, path: str) -> TreeEntry:
    return next(entry for entry in tree.entries() if entry.path == path)


def test_a_branch_is_fetched_with_its_newest_commit(
    source: Source, repo: Repo, remote: Remote
) -> None:
    newest = repo.commit({"a": "1"})
    assert fetch(source, remote) == newest
    newer = repo.commit({"a": "2"})
    assert fetch(source, remote) == newer


def test_an_exact_commit_is_fetched_though_the_branch_is_further_on(
    source: Source, repo: Repo, remote: Remote
) -> None:
    wanted = repo.commit({"a": "old"})
    repo.commit({"a": "new"})
    assert fetch(source, remote, sha=wanted) == wanted
    with source.tree(remote, wanted, folder=".") as tree:
        assert content(tree, "a") == b"old"


def test_a_sha_may_stand_in_place_of_the_ref(source: Source, repo: Repo, remote: Remote) -> None:
    wanted = repo.commit({"a": "old"})
    repo.commit({"a": "new"})
    assert fetch(source, remote, ref=wanted.upper()) == wanted


def test_a_commit_that_was_fetched_needs_no_network(
    source: Source, repo: Repo, remote: Remote, server: GitServer
) -> None:
    wanted = repo.commit({"a": "1"})
    fetch(source, remote)
    before = len(server.requests)
    server.fail(Fault(status=503))
    assert fetch(source, remote, sha=wanted) == wanted
    assert len(server.requests) == before


def test_a_commit_stays_after_a_force_push_and_a_garbage_collection(
    source: Source, repo: Repo, remote: Remote
) -> None:
    wanted = repo.commit({"a": "kept"})
    fetch(source, remote)
    newest = repo.commit({"b": "other"}, fresh=True)
    repo.collect_garbage()
    assert fetch(source, remote) == newest
    assert fetch(source, remote, sha=wanted) == wanted
    with source.tree(remote, wanted, folder=".") as tree:
        assert content(tree, "a") == b"kept"


def test_the_error_names_a_commit_that_was_force_pushed_away(
    source: Source, repo: Repo, remote: Remote
) -> None:
    gone = repo.commit({"a": "1"})
    repo.commit({"b": "2"}, fresh=True)
    repo.collect_garbage()
    with pytest.raises(CheckoutError, match=rf"commit {gone[:7]} is not in octo/web .*force-push"):
        fetch(source, remote, sha=gone)


def test_a_missing_branch_is_named(source: Source, remote: Remote) -> None:
    with pytest.raises(CheckoutError, match=r"^the branch nope does not exist in octo/web$"):
        fetch(source, remote, ref="refs/heads/nope")


def test_a_branch_is_never_found_by_the_end_of_its_name(
    source: Source, repo: Repo, remote: Remote
) -> None:
    sha = repo.head() or ""
    repo.point("refs/heads/refs/heads/inner", sha)
    assert source.head(remote, ref="refs/heads/inner", stop=StopSignal()) is None
    with pytest.raises(CheckoutError, match="branch inner does not exist"):
        fetch(source, remote, ref="refs/heads/inner")


def test_an_empty_repository_has_no_branch(
    source: Source, server: GitServer, remote: Remote
) -> None:
    empty = Remote(8, server.repository("octo/empty").url, remote.token)
    assert source.head(empty, ref=MAIN, stop=StopSignal()) is None
    with pytest.raises(CheckoutError, match="the branch main does not exist in octo/empty"):
        fetch(source, empty)


def test_an_annotated_tag_gives_its_commit(source: Source, repo: Repo, remote: Remote) -> None:
    commit = repo.commit({"a": "1"})
    tag = repo.tag("v1", commit)
    assert fetch(source, remote, ref="refs/tags/v1") == commit
    assert fetch(source, remote, sha=tag) == commit
    assert source.head(remote, ref="refs/tags/v1", stop=StopSignal()) == commit
    assert source.commit(remote, commit).sha == commit


def test_a_ref_to_something_else_than_a_commit_is_refused(
    source: Source, repo: Repo, remote: Remote
) -> None:
    blob = repo.git("rev-parse", "main:Dockerfile")
    repo.point("refs/tags/blob", blob)
    with pytest.raises(CheckoutError, match="of octo/web is not a commit"):
        fetch(source, remote, ref="refs/tags/blob")
    with pytest.raises(CheckoutError, match="is not a commit"):
        fetch(source, remote, sha=blob)


def test_a_short_sha_is_refused_before_the_network(
    source: Source, repo: Repo, remote: Remote, server: GitServer
) -> None:
    short = (repo.head() or "")[:7]
    with pytest.raises(CheckoutError, match="give the full SHA"):
        fetch(source, remote, ref=short)
    with pytest.raises(CheckoutError, match="give the full SHA"):
        fetch(source, remote, sha=short)
    assert server.requests == []


@pytest.mark.parametrize(
    "ref", ["main", "refs/heads/*", "refs/heads/a:refs/heads/b", "^refs/heads/main", "-x", ""]
)
def test_an_incomplete_ref_is_refused_before_the_network(
    source: Source, remote: Remote, server: GitServer, ref: str
) -> None:
    with pytest.raises(CheckoutError, match="is not a branch, a tag or a commit SHA"):
        fetch(source, remote, ref=ref)
    assert source.head(remote, ref=ref, stop=StopSignal()) is None
    assert server.requests == []


@pytest.mark.parametrize("branch", ODD_BRANCHES)
def test_an_odd_branch_name_is_harmless(
    source: Source, repo: Repo, remote: Remote, tmp_path: Path, branch: str
) -> None:
    main = repo.head() or ""
    sha = repo.commit({"odd": branch}, branch="odd")
    repo.point(f"refs/heads/{branch}", sha)
    assert source.head(remote, ref=f"refs/heads/{branch}", stop=StopSignal()) == sha
    assert fetch(source, remote, ref=f"refs/heads/{branch}") == sha != main
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("/pwned").exists()


def test_head_names_the_commit_of_exactly_that_ref(
    source: Source, repo: Repo, remote: Remote
) -> None:
    sha = repo.commit({"a": "1"})
    assert source.head(remote, ref=MAIN, stop=StopSignal()) == sha
    assert source.head(remote, ref="refs/heads/nope", stop=StopSignal()) is None


def test_a_sha256_repository_works_like_any_other(
    source: Source, server: GitServer, remote: Remote
) -> None:
    repo = server.repository("octo/long", object_format="sha256")
    first = repo.commit({"a": "1"})
    second = repo.commit({"a": "2"})
    long = Remote(9, repo.url, remote.token)
    assert source.head(long, ref=MAIN, stop=StopSignal()) == second
    assert fetch(source, long) == second
    assert fetch(source, long, sha=first) == first
    with source.tree(long, first, folder=".") as tree:
        assert content(tree, "a") == b"1"


def test_a_wrong_token_and_a_missing_one_are_told_apart(source: Source, remote: Remote) -> None:
    wrong = Remote(remote.repository_id, remote.url, SecretStr("ghp_wrong"))
    with pytest.raises(RepositoryDeniedError, match="refused the token"):
        fetch(source, wrong)
    with pytest.raises(RepositoryDeniedError, match="refused the token"):
        source.head(wrong, ref=MAIN, stop=StopSignal())
    with pytest.raises(RepositoryDeniedError, match="asks for a token and none is set"):
        fetch(source, Remote(remote.repository_id, remote.url))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(status=401), "refused the token"),
        (Fault(status=403), "refused the token"),
        (
            Fault(status=403, headers=PLAIN, body=b"Resource protected by organization SAML."),
            r'refused the token.*\("Resource protected by organization SAML."\)',
        ),
        (Fault(status=404), "octo/web was not found, or the token may not see it"),
        (Fault.redirect("http://127.0.0.1:1/elsewhere"), "has moved; set its new URL"),
        (Fault.redirect("http://127.0.0.1:1/elsewhere", 307), "has moved; set its new URL"),
    ],
)
def test_an_error_that_the_owner_must_fix_is_a_checkout_error(
    source: Source, remote: Remote, server: GitServer, fault: Fault, sentence: str
) -> None:
    server.fail(fault)
    with pytest.raises(CheckoutError, match=sentence):
        fetch(source, remote)
    with pytest.raises(CheckoutError, match=sentence):
        source.head(remote, ref=MAIN, stop=StopSignal())


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429),
        Fault(status=200, body=b"<html>\nhello\n</html>\n"),
        Fault(reset=True),
    ],
    ids=["500", "503", "429", "a web page", "reset"],
)
def test_a_server_that_fails_is_a_git_error(
    source: Source, remote: Remote, server: GitServer, fault: Fault
) -> None:
    server.fail(fault)
    with pytest.raises(GitError, match="could not fetch the branch main of octo/web: "):
        fetch(source, remote)
    server.heal()
    fetch(source, remote)


def test_a_server_that_is_not_there_is_a_git_error(source: Source, remote: Remote) -> None:
    nobody = Remote(remote.repository_id, "http://127.0.0.1:1/octo/web.git", remote.token)
    with pytest.raises(GitError, match=r"Failed to connect|Couldn't connect"):
        fetch(source, nobody)
    nowhere = Remote(remote.repository_id, "http://nowhere.invalid/octo/web.git", remote.token)
    with pytest.raises(GitError, match="Could not resolve host"):
        fetch(source, nowhere)


def test_a_hanging_server_costs_no_more_than_the_deadline(
    tmp_path: Path, remote: Remote, server: GitServer
) -> None:
    source: Source = GitSource(tmp_path / "mirrors", allowed_schemes=("http",), timeout_s=1)
    server.fail(Fault(hang=True))
    with pytest.raises(GitError, match="longer than 1 s"):
        fetch(source, remote)


def test_the_stop_signals_error_ends_a_fetch(
    source: Source, remote: Remote, server: GitServer
) -> None:
    server.fail(Fault(hang=True))
    stop = StopSignal()
    timer = threading.Timer(0.3, lambda: stop.set(CancelledError("by ada")))
    timer.start()
    with pytest.raises(CancelledError, match="by ada"):
        source.fetch(remote, ref=MAIN, sha=None, stop=stop)
    timer.join()
    server.heal()
    fetch(source, remote)


def test_a_commit_is_described(source: Source, repo: Repo, remote: Remote) -> None:
    sha = repo.commit({"a": "1"}, message="Add ünïcode\n\nAnd why.\n", author="Zoë <z@e.org>")
    fetch(source, remote)
    commit = source.commit(remote, sha)
    assert (commit.sha, commit.author) == (sha, "Zoë")
    assert commit.message == "Add ünïcode\n\nAnd why."


def test_a_hostile_description_is_bounded_and_printable(
    source: Source, repo: Repo, remote: Remote
) -> None:
    message = "\x1b]0;pwned\x07red\r\ttab\u202eevil" + "x" * 400_000
    sha = repo.commit({"a": "1"}, message=message, author="A" * 500 + " <a@e.org>")
    fetch(source, remote)
    commit = source.commit(remote, sha)
    assert commit.message.startswith("red\n\ttabevilxxx")
    assert len(commit.message) == 2000
    assert commit.author == "A" * 200


def test_the_tree_lists_files_and_links_sorted_by_path(
    source: Source, repo: Repo, remote: Remote
) -> None:
    sha = repo.commit(
        {
            "a/b": "inside",
            "a-b": "beside",
            "run": Executable(b"#!/bin/sh\n"),
            "link": Link("/etc/passwd"),
            "vendor/lib": Submodule("1" * 40),
            'odd "name"\t🚀': "odd",
            "Dockerfile": Removed(),
        }
    )
    fetch(source, remote)
    with source.tree(remote, sha, folder=".") as tree:
        listed = [(entry.path, entry.mode, entry.size) for entry in tree.entries()]
        assert listed == [
            ("a-b", 0o100644, 6),
            ("a/b", 0o100644, 6),
            ("link", 0o120000, 11),
            ('odd "name"\t🚀', 0o100644, 3),
            ("run", 0o100755, 10),
        ]
        assert content(tree, "link") == b"/etc/passwd"
        assert tree.submodules() == ["vendor/lib"]
    with source.tree(remote, sha, folder="a") as tree:
        assert tree.submodules() == []


def test_tags_are_listed_with_their_commits(source: Source, repo: Repo, remote: Remote) -> None:
    one, two = repo.commit({"a": "1"}), repo.commit({"a": "2"})
    repo.point("refs/tags/v1", one)
    repo.tag("release/ünï-2", two)
    assert source.tags(remote, stop=StopSignal()) == {"v1": one, "release/ünï-2": two}
    with pytest.raises(RepositoryDeniedError):
        source.tags(replace(remote, token=SecretStr("ghp_other")), stop=StopSignal())


def test_changes_of_every_kind_are_listed(source: Source, repo: Repo, remote: Remote) -> None:
    one = repo.commit(
        {
            "gone": "1",
            "run": "1",
            "link": "a",
            "vendor/lib": Submodule("1" * 40),
            "kept": "1",
            'odd "name"\t🚀': "1",
            "folder/x": "1",
        }
    )
    fetch(source, remote)
    two = repo.commit(
        {
            "gone": Removed(),
            "run": Executable(b"1"),
            "link": Link("a"),
            "vendor/lib": Submodule("2" * 40),
            'odd "name"\t🚀': "2",
            "folder/x": Removed(),
            "folder": "now a file",
            "new": "1",
        }
    )
    fetch(source, remote)
    told = source.changed(remote, one, two)
    kinds = ["gone", "run", "link", "vendor/lib", 'odd "name"\t🚀', "folder/x", "folder", "new"]
    assert told == frozenset(kinds)


def test_nothing_is_said_of_commits_that_the_mirror_lacks(
    source: Source, repo: Repo, remote: Remote
) -> None:
    one, two = repo.commit({"a": "1"}), repo.commit({"a": "2"})
    assert source.changed(remote, one, two) is None
    fetch(source, remote)
    # The server's history holds the first one, but the mirror has only what was asked for.
    assert source.changed(remote, one, two) is None
    assert source.changed(remote, "--output=pwned", two) is None
    assert source.changed(remote, two, "e" * 64) is None


def test_the_tree_of_a_folder_has_paths_relative_to_it(
    source: Source, repo: Repo, remote: Remote
) -> None:
    sha = repo.commit({"apps/web/Dockerfile": "FROM scratch\n", "apps/web/x/y": "1"})
    fetch(source, remote)
    for folder in ("apps/web", "./apps/web/", "apps//web"):
        with source.tree(remote, sha, folder=folder) as tree:
            assert [entry.path for entry in tree.entries()] == ["Dockerfile", "x/y"]


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../..", "nope", "Dockerfile", "link", "-x"])
def test_a_path_that_is_no_folder_is_refused(
    source: Source, repo: Repo, remote: Remote, folder: str
) -> None:
    sha = repo.commit({"link": Link("a"), "a/b": "1"})
    fetch(source, remote)
    with (
        pytest.raises(CheckoutError, match="folder"),
        source.tree(remote, sha, folder=folder),
    ):
        pytest.fail("the tree was opened")


def test_attributes_do_not_change_what_is_read(source: Source, repo: Repo, remote: Remote) -> None:
    text = "$Format:%H$\n"
    sha = repo.commit({".gitattributes": "* export-ignore\na export-subst eol=crlf\n", "a": text})
    fetch(source, remote)
    with source.tree(remote, sha, folder=".") as tree:
        assert [entry.path for entry in tree.entries()] == [".gitattributes", "Dockerfile", "a"]
        assert content(tree, "a") == text.encode()


def test_the_same_content_has_the_same_blob(source: Source, repo: Repo, remote: Remote) -> None:
    sha = repo.commit({"a": "same", "b": "same", "c": "other"})
    fetch(source, remote)
    with source.tree(remote, sha, folder=".") as tree:
        blobs = [entry_of(tree, path).blob for path in "abc"]
    assert blobs[0] == blobs[1] != blobs[2]


def test_a_commit_that_was_not_fetched_is_not_described(source: Source, remote: Remote) -> None:
    with pytest.raises(GitError, match="has not been fetched"):
        source.commit(remote, "1" * 40)
    with (
        pytest.raises(GitError, match="has not been fetched"),
        source.tree(remote, "1" * 40, folder="."),
    ):
        pytest.fail("the tree was opened")


def test_eight_threads_fetch_into_one_mirror(source: Source, repo: Repo, remote: Remote) -> None:
    commits = [repo.commit({"n": str(number)}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda sha: fetch(source, remote, sha=sha), commits)) == commits
    for sha in commits:
        with source.tree(remote, sha, folder=".") as tree:
            assert content(tree, "n") == str(commits.index(sha)).encode()


def test_files_are_read_from_many_threads_at_once(
    source: Source, repo: Repo, remote: Remote
) -> None:
    files = {f"f{number}": bytes([number]) * (number * 40_000) for number in range(32)}
    sha = repo.commit(files)
    fetch(source, remote)
    with source.tree(remote, sha, folder=".") as tree, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda path: content(tree, path), files))
    assert found == list(files.values())


# --- What is kept ----------------------------------------------------------------------------


def test_all_files_of_a_repository_are_removed(
    source: Source, repo: Repo, remote: Remote, tmp_path: Path
) -> None:
    assert source.kept() == set()
    fetch(source, remote)
    fetch(source, replace(remote, repository_id=8))
    (tmp_path / "mirrors" / "7-sha256.new").mkdir()  # left by a killed worker
    (tmp_path / "mirrors" / "notes.txt").write_text("nobody's business")
    assert source.kept() == {7, 8}
    source.forget(7)
    assert source.kept() == {8}
    assert sorted(path.name for path in (tmp_path / "mirrors").iterdir()) == [
        "8-sha1.git",
        "8.lock",
        "notes.txt",
    ]
    assert fetch(source, remote)


def test_a_repository_that_is_being_fetched_is_removed_the_next_time(
    source: Source, remote: Remote, tmp_path: Path
) -> None:
    fetch(source, remote)
    with (tmp_path / "mirrors" / "7.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        source.forget(7)
        assert source.kept() == {7}
    source.forget(7)
    assert source.kept() == set()


def test_leftovers_of_a_killed_removal_are_removed_too(
    source: Source, remote: Remote, tmp_path: Path
) -> None:
    fetch(source, remote)
    mirror = tmp_path / "mirrors" / "7-sha1.git"
    shutil.rmtree(mirror / "objects")
    source.forget(7)
    assert list((tmp_path / "mirrors").iterdir()) == []
    source.forget(7)
    assert source.kept() == set()
