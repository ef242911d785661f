"""What `GitSource` does besides its contract: where the token goes, and what survives a crash."""

import base64
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.git.source import GitSource
from jobs.errors import CancelledError, CheckoutError, GitError, StorageError
from jobs.rules.repository_values import Remote
from jobs.rules.stopping import StopSignal
from tests.apart import NOBODY, only_root
from tests.gitserver import Fault, GitServer, Link, Repo
from tests.processes import Process, processes

TOKEN = "ghp_Leak/Check+0123456789"
PAIR = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
MAIN = "refs/heads/main"
FETCH = """
import sys
from pathlib import Path
from jobs.adapters.git.source import GitSource
from jobs.adapters.ports import Remote
from jobs.rules.stopping import StopSignal

mirrors, url, *commits = sys.argv[1:]
source = GitSource(Path(mirrors), allowed_schemes=("file",))
for sha in commits:
    source.fetch(Remote(1, url), ref=sha, sha=sha, stop=StopSignal())
"""


@pytest.fixture(name="server")
def fixture_server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served", token=TOKEN) as server:
        yield server


@pytest.fixture(name="repo")
def fixture_repo(server: GitServer) -> Repo:
    repo = server.repository("octo/web")
    repo.commit({"Dockerfile": "FROM scratch\n"})
    return repo


@pytest.fixture(name="mirrors")
def fixture_mirrors(tmp_path: Path) -> Path:
    return tmp_path / "mirrors"


@pytest.fixture(name="source")
def fixture_source(mirrors: Path) -> GitSource:
    return GitSource(mirrors, allowed_schemes=("http",), timeout_s=60)


@pytest.fixture(name="remote")
def fixture_remote(repo: Repo) -> Remote:
    return Remote(1, repo.url, SecretStr(TOKEN))


def fetch(source: GitSource, remote: Remote, sha: str | None = None) -> str:
    return source.fetch(remote, ref=MAIN, sha=sha, stop=StopSignal())


def has_token(text: str) -> bool:
    return TOKEN in text or PAIR in text


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def snapshot_while_fetching(source: GitSource, remote: Remote, sha: str) -> list[Process]:
    """Give the machine's processes at a moment when git waits for the server."""
    stop = StopSignal()

    def work() -> None:
        with pytest.raises(CancelledError):
            source.fetch(remote, ref=MAIN, sha=sha, stop=stop)

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 60
    seen: list[Process] = []
    while time.monotonic() < deadline:
        seen = list(processes())
        about = [p for p in seen if any(remote.url in argument for argument in p.arguments)]
        if any("git-remote-http" in "".join(process.arguments) for process in about):
            break
        time.sleep(0.02)
    stop.set(CancelledError("seen enough"))
    worker.join(60)
    return seen


def test_the_token_stands_in_no_argument_and_in_no_environment_but_gits(
    source: GitSource, remote: Remote, server: GitServer, repo: Repo
) -> None:
    server.fail(Fault(hang=True))
    seen = snapshot_while_fetching(source, remote, repo.head() or "")
    assert not [p for p in seen if has_token(" ".join(p.arguments))]
    knowing = [process for process in seen if has_token(process.environment)]
    assert len(knowing) >= 2
    names = {Path(process.arguments[0]).name for process in knowing}
    assert names <= {"timeout", "git", "git-remote-http"}
    assert not [p for p in knowing if "PYTHON" in p.environment or "VIRTUAL_ENV" in p.environment]


def test_the_token_stays_in_no_file_of_the_mirror(
    source: GitSource, remote: Remote, mirrors: Path
) -> None:
    fetch(source, remote)
    files = files_below(mirrors)
    assert any(path.name == "config" for path in files)
    assert not [p for p in files if has_token(p.read_bytes().decode("latin-1"))]
    assert not [p for p in files if remote.url.encode() in p.read_bytes()]


def test_the_token_is_masked_when_the_server_repeats_it(
    source: GitSource, remote: Remote, server: GitServer
) -> None:
    words = f"ERR you sent {TOKEN} and {PAIR}\n"
    kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    server.fail(Fault(200, kind, f"{len(words) + 4:04x}{words}".encode()))
    with pytest.raises(GitError, match=r"you sent \[REDACTED\] and \[REDACTED\]") as caught:
        fetch(source, remote)
    assert not has_token(f"{caught.value!r} {caught.value.__cause__!r}")


@pytest.mark.parametrize("status", [301, 302, 307])
def test_the_token_goes_to_no_host_the_server_names(
    source: GitSource, remote: Remote, server: GitServer, tmp_path: Path, status: int
) -> None:
    with GitServer(tmp_path / "elsewhere") as other:
        other.repository("octo/web").commit({"Dockerfile": "FROM evil\n"})
        server.fail(Fault.redirect(f"{other.url}/octo/web.git/info/refs?service=x", status))
        with pytest.raises(CheckoutError, match="has moved"):
            fetch(source, remote)
        assert other.requests == []


def test_no_token_is_sent_to_a_server_that_has_none(source: GitSource, tmp_path: Path) -> None:
    with GitServer(tmp_path / "open") as server:
        repo = server.repository("octo/web")
        sha = repo.commit({"a": "1"})
        assert fetch(source, Remote(3, repo.url)) == sha
        assert {request.authorization for request in server.requests} == {None}


def test_one_exact_commit_costs_one_look_and_one_transfer(
    source: GitSource, remote: Remote, repo: Repo, server: GitServer
) -> None:
    fetch(source, remote, repo.head())
    asked = [
        (request.method, request.path.removeprefix("/octo/web.git")) for request in server.requests
    ]
    assert asked == [("GET", "/info/refs"), ("POST", "/git-upload-pack")]


def test_the_next_commit_transfers_only_what_changed(
    source: GitSource, remote: Remote, repo: Repo, mirrors: Path
) -> None:
    noise = "".join(chr(33 + (n * n * 7919) % 90) for n in range(300_000))
    repo.commit({"large": noise})
    fetch(source, remote)
    before = sum(path.stat().st_size for path in files_below(mirrors))
    repo.commit({"small": "1"})
    fetch(source, remote)
    assert sum(path.stat().st_size for path in files_below(mirrors)) - before < 20_000


@pytest.mark.parametrize(
    "url", ["file:///etc", "ext::sh -c touch% pwned", "ssh://127.0.0.1/x", "https://127.0.0.1:1/x"]
)
def test_only_allowed_schemes_reach_git(mirrors: Path, url: str) -> None:
    source = GitSource(mirrors, allowed_schemes=("http",))
    with pytest.raises(CheckoutError, match="git URL"):
        fetch(source, Remote(1, url))
    with pytest.raises(CheckoutError, match="git URL"):
        source.head(Remote(1, url), ref=MAIN, stop=StopSignal())
    assert not mirrors.exists()


def test_a_local_repository_that_is_missing_is_not_found(mirrors: Path, tmp_path: Path) -> None:
    source = GitSource(mirrors, allowed_schemes=("file",))
    with pytest.raises(CheckoutError, match="was not found"):
        fetch(source, Remote(1, f"file://{tmp_path}/nothing.git"))


@only_root
def test_a_local_repository_of_another_user_is_read(mirrors: Path, tmp_path: Path) -> None:
    """The workers' user need not own what it may read: git by itself would refuse."""
    repo = Repo(tmp_path / "web.git")
    sha = repo.commit({"version": "one"})
    for path in (repo.path, *repo.path.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    source = GitSource(mirrors, allowed_schemes=("file",))
    assert source.head(Remote(1, repo.url), ref=MAIN, stop=StopSignal()) == sha
    assert fetch(source, Remote(1, repo.url)) == sha


@pytest.mark.parametrize("name", ["..", ".git", "."])
def test_a_tree_that_would_write_elsewhere_is_refused(
    source: GitSource, remote: Remote, repo: Repo, name: str
) -> None:
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"evil")
    raw = f"100644 {name}\0".encode() + bytes.fromhex(blob)
    tree = repo.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)
    sha = repo.git("-c", "user.name=a", "-c", "user.email=a@e.org", "commit-tree", "-m", "x", tree)
    repo.point(MAIN, sha)
    with pytest.raises(CheckoutError, match=r"git refused commit \w+ of octo/web as unsafe"):
        fetch(source, remote)
    with pytest.raises(GitError, match="has not been fetched"):
        source.commit(remote, sha)


def test_a_submodule_that_hides_an_option_is_refused(
    source: GitSource, remote: Remote, repo: Repo
) -> None:
    modules = '[submodule "x"]\n\tpath = x\n\turl = -oProxyCommand=touch${IFS}pwned\n'
    repo.commit({".gitmodules": modules})
    with pytest.raises(CheckoutError, match="as unsafe"):
        fetch(source, remote)


def test_links_are_given_as_links(source: GitSource, remote: Remote, repo: Repo) -> None:
    sha = repo.commit({"Dockerfile": Link("/etc/passwd"), "up": Link("../../../etc/passwd")})
    fetch(source, remote)
    with source.tree(remote, sha, folder=".") as tree:
        found = {entry.path: b"".join(tree.read(entry)) for entry in tree.entries()}
    assert found == {"Dockerfile": b"/etc/passwd", "up": b"../../../etc/passwd"}


def test_what_a_killed_fetch_left_behind_stops_no_later_one(
    source: GitSource, remote: Remote, repo: Repo, mirrors: Path
) -> None:
    fetch(source, remote)
    mirror = mirrors / "1-sha1.git"
    wanted = repo.commit({"a": "1"})
    leftovers = [
        mirror / "shallow.lock",
        mirror / "packed-refs.lock",
        mirror / "refs" / "keystone" / f"{wanted}.lock",
        mirror / "objects" / "pack" / "tmp_pack_x1y2z3",
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"")
    (mirrors / "2-sha1.new").mkdir()
    assert fetch(source, remote) == wanted
    assert not [leftover for leftover in leftovers if leftover.exists()]
    assert fetch(source, Remote(2, remote.url, remote.token)) == wanted


def test_a_commit_that_arrived_without_its_files_is_fetched_again(
    source: GitSource, remote: Remote, repo: Repo, mirrors: Path
) -> None:
    fetch(source, remote)
    wanted = repo.commit({"a": "1"})
    raw = subprocess.run(
        ["git", f"--git-dir={repo.path}", "cat-file", "commit", wanted],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    subprocess.run(
        [
            "git",
            f"--git-dir={mirrors / '1-sha1.git'}",
            "hash-object",
            "-t",
            "commit",
            "-w",
            "--stdin",
        ],
        input=raw,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert fetch(source, remote, wanted) == wanted
    with source.tree(remote, wanted, folder=".") as tree:
        assert [entry.path for entry in tree.entries()] == ["Dockerfile", "a"]


def test_a_lock_that_is_held_is_waited_for_but_not_for_ever(mirrors: Path, remote: Remote) -> None:
    source = GitSource(mirrors, allowed_schemes=("http",), timeout_s=0.3)
    mirrors.mkdir()
    with (mirrors / "1.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        # A commit that is named: the server, which may take longer than that, is not asked first.
        with pytest.raises(GitError, match="another worker has been fetching"):
            fetch(source, remote, "a" * 40)


def test_the_wait_for_a_lock_can_be_stopped(
    source: GitSource, mirrors: Path, remote: Remote
) -> None:
    mirrors.mkdir()
    stop = StopSignal()
    with (mirrors / "1.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timer = threading.Timer(0.2, lambda: stop.set(CancelledError("by ada")))
        timer.start()
        with pytest.raises(CancelledError, match="by ada"):
            source.fetch(remote, ref=MAIN, sha=None, stop=stop)
        timer.join()


def test_several_processes_fetch_into_one_mirror(tmp_path: Path, mirrors: Path) -> None:
    repo = Repo(tmp_path / "web.git")
    commits = [repo.commit({"n": str(number)}) for number in range(6)]
    workers = [
        subprocess.Popen([sys.executable, "-c", FETCH, str(mirrors), repo.url, *order])
        for order in (commits, commits[::-1], commits[3:] + commits[:3])
    ]
    assert [worker.wait(150) for worker in workers] == [0, 0, 0]
    source = GitSource(mirrors, allowed_schemes=("file",))
    for number, sha in enumerate(commits):
        with source.tree(Remote(1, repo.url), sha, folder=".") as tree:
            content = b"".join(tree.read(tree.entries()[0]))
        assert content == str(number).encode()


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, remote: Remote) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    source = GitSource(blocker / "mirrors", allowed_schemes=("http",))
    with pytest.raises(StorageError, match="mirrors cannot be written: Not a directory"):
        fetch(source, remote)
