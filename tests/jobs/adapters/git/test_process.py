"""Running git: bounds, deadlines, and that nothing is left running."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.adapters.git import commands
from jobs.adapters.git.process import receive, run, running
from jobs.errors import CancelledError, GitError
from jobs.rules.stopping import StopSignal
from tests.gitserver import Fault, GitServer, Repo
from tests.processes import processes_about

SHA = "a" * 40
FETCH_UNTIL_KILLED = """
import sys
from jobs.adapters.git import commands
from jobs.adapters.git.process import run

settings = {"protocol.http.allow": "always"}
arguments = commands.list_remote(sys.argv[1], "refs/heads/main")
run(arguments, commands.environment(settings), has_helpers=True)
"""


@pytest.fixture(name="hanging")
def fixture_hanging(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served") as server:
        server.fail(Fault(hang=True))
        yield server


@pytest.fixture(name="ask")
def fixture_ask(hanging: GitServer) -> list[str]:
    """A command that never ends."""
    return commands.list_remote(f"{hanging.url}/octo/web.git", "refs/heads/main")


@pytest.fixture(name="environment")
def fixture_environment() -> dict[str, str]:
    return commands.environment({"protocol.http.allow": "always"})


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_output_complaint_and_status_are_kept_apart(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "web.git")
    sha = repo.commit({"a": "1"}, message="Hello")
    repo.point(commands.kept_ref(sha), sha)
    good = run(commands.read_commit(repo.path, sha), commands.environment())
    assert (good.status, good.complaint, good.cut) == (0, b"", False)
    assert good.output.endswith(b"\n\nHello\n") or good.output.endswith(b"\n\nHello")
    bad = run(commands.read_commit(repo.path, SHA), commands.environment())
    assert (bad.status, bad.output) == (128, b"")
    assert b"fatal:" in bad.complaint


def test_too_much_output_is_cut_and_git_ended(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "web.git")
    repo.commit({"large": b"x" * 5_000_000})
    blob = repo.git("rev-parse", "main:large")
    finished = run(commands.read_blob(repo.path, blob), commands.environment(), most_output=100_000)
    assert finished.cut
    assert finished.output == b"x" * 100_000
    assert processes_about(str(repo.path)) == []


def test_the_deadline_ends_git_and_its_helpers(
    ask: list[str], environment: dict[str, str], hanging: GitServer
) -> None:
    begun = time.monotonic()
    with pytest.raises(GitError, match=r"longer than 0.5 s"):
        run(ask, environment, timeout_s=0.5)
    assert time.monotonic() - begun < 30
    assert eventually(lambda: processes_about(hanging.url) == [])


def test_a_stop_ends_git_and_its_helpers_at_once(
    ask: list[str], environment: dict[str, str], hanging: GitServer
) -> None:
    stop = StopSignal()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            run(ask, environment, stop=stop)
        except CancelledError as exc:
            caught.append(exc)

    worker = threading.Thread(target=work)
    worker.start()
    assert eventually(lambda: len(processes_about(hanging.url)) >= 2)
    begun = time.monotonic()
    stop.set(CancelledError("by ada"))
    worker.join(60)
    assert time.monotonic() - begun < 30
    assert [str(error) for error in caught] == ["by ada"]
    assert eventually(lambda: processes_about(hanging.url) == [])


def test_work_that_was_stopped_before_starts_nothing_that_stays(
    ask: list[str], environment: dict[str, str], hanging: GitServer
) -> None:
    stop = StopSignal()
    stop.set(CancelledError("by ada"))
    with pytest.raises(CancelledError):
        run(ask, environment, stop=stop)
    assert eventually(lambda: processes_about(hanging.url) == [])


def test_git_dies_with_a_worker_that_is_killed(hanging: GitServer) -> None:
    url = f"{hanging.url}/octo/web.git"
    worker = subprocess.Popen([sys.executable, "-c", FETCH_UNTIL_KILLED, url])
    try:
        assert eventually(lambda: len(processes_about(url)) >= 3)
    finally:
        worker.kill()
        worker.wait(60)
    assert eventually(lambda: processes_about(url) == [])


def test_a_block_that_raises_leaves_no_git(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "web.git")
    arguments = commands.serve_blobs(repo.path)
    with (
        pytest.raises(RuntimeError),
        running(arguments, commands.environment(), stdin=subprocess.PIPE),
    ):
        raise RuntimeError
    assert processes_about(str(repo.path)) == []


def test_a_git_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "web.git")
    arguments = commands.serve_blobs(repo.path)
    with (
        running(arguments, commands.environment(), stdin=subprocess.PIPE) as process,
        pytest.raises(GitError, match="stopped answering"),
    ):
        receive(process, time.monotonic() + 0.1)
