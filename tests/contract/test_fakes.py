"""The fakes behave like the real adapters: every test runs on both.

This file covers the behaviour that the tests of deployments and of the reconciler rely on. Other
files cover the engine, and behaviour that only the real adapters have.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.adapters.git.source import GitSource
from jobs.adapters.http_probe import HttpProbe
from jobs.adapters.ports import Probe, Router, Source
from jobs.errors import (
    CancelledError,
    CheckoutError,
    GitError,
    RouterError,
)
from jobs.rules.container_values import HealthRequest, ProbeResult, Route
from jobs.rules.repository_values import Remote
from jobs.rules.stopping import StopSignal
from tests.contract.test_fake_engine import EngineBench, FakeHand
from tests.fakes import (
    Behaviour,
    FakeEngine,
    FakeProbe,
    FakeRepository,
    FakeRouter,
    FakeSource,
)
from tests.gitserver import Executable, GitServer
from tests.haproxy import LOCALHOST, Upstream, deaf_port, running_router

IDENTITY = f"f{secrets.token_hex(4)}"
REAL = pytest.param("real", marks=pytest.mark.docker)


# --- Router ----------------------------------------------------------------------------------


@pytest.fixture(params=["fake", "real"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Router, list[int]]]:
    if request.param == "fake":
        yield FakeRouter([21001, 21002]), [21001, 21002]
        return
    with running_router(tmp_path) as running:
        yield running.adapter, running.ports


class TestRouter:
    def test_a_switch_sets_the_route_until_the_next_switch(
        self, router: tuple[Router, list[int]]
    ) -> None:
        adapter, (port, *_) = router
        assert adapter.routes() == {}
        for route in (
            Route(port, "a", "127.0.0.1:9001"),
            Route(port, "b", "127.0.0.1:9002"),
            Route(port, "a", "127.0.0.1:9003"),
        ):
            adapter.switch(route)
            adapter.switch(route)
            assert adapter.routes() == {port: route}

    def test_detaching_the_old_slot_keeps_the_route(self, router: tuple[Router, list[int]]) -> None:
        adapter, (port, *_) = router
        adapter.switch(Route(port, "a", "127.0.0.1:9001"))
        adapter.switch(Route(port, "b", "127.0.0.1:9002"))
        assert adapter.in_flight(port, "a") == 0
        adapter.detach(port, "a")
        adapter.detach(port, "a")
        assert adapter.routes() == {port: Route(port, "b", "127.0.0.1:9002")}

    def test_detaching_the_live_slot_removes_the_route(
        self, router: tuple[Router, list[int]]
    ) -> None:
        adapter, (port, *_) = router
        adapter.switch(Route(port, "a", "127.0.0.1:9001"))
        adapter.detach(port, "a")
        assert adapter.routes() == {}

    def test_a_closed_port_has_no_route_and_the_others_keep_theirs(
        self, router: tuple[Router, list[int]]
    ) -> None:
        adapter, (one, two, *_) = router
        adapter.switch(Route(one, "a", "127.0.0.1:9001"))
        adapter.switch(Route(two, "b", "127.0.0.1:9002"))
        adapter.close(one)
        adapter.close(one)
        assert adapter.routes() == {two: Route(two, "b", "127.0.0.1:9002")}

    @pytest.mark.parametrize(
        ("slot", "address"), [("c", "127.0.0.1:9"), ("a", "127.0.0.1"), ("a", "")]
    )
    def test_an_invalid_route_is_refused(
        self, router: tuple[Router, list[int]], slot: str, address: str
    ) -> None:
        adapter, (port, *_) = router
        with pytest.raises(RouterError):
            adapter.switch(Route(port, slot, address))
        assert adapter.routes() == {}

    def test_a_port_that_the_router_does_not_serve_is_refused(
        self, router: tuple[Router, list[int]]
    ) -> None:
        adapter, _ = router
        with pytest.raises(RouterError, match="does not listen on port 1999"):
            adapter.switch(Route(1999, "a", "127.0.0.1:9"))
        adapter.close(1999)
        adapter.detach(1999, "a")
        assert adapter.in_flight(1999, "a") == 0

    def test_holding_keystones_own_address_changes_no_route(
        self, router: tuple[Router, list[int]]
    ) -> None:
        adapter, (port, *_) = router
        adapter.switch(Route(port, "a", "127.0.0.1:9001"))
        for act in (adapter.release, adapter.hold, adapter.hold, adapter.release, adapter.release):
            act()
            assert adapter.routes() == {port: Route(port, "a", "127.0.0.1:9001")}


# --- Source ----------------------------------------------------------------------------------

MAIN = "refs/heads/main"


@dataclass
class SourceBench:
    """A source, and a repository in which the test can make commits."""

    source: Source
    remote: Remote
    commit: Callable[[str, str], str]  # message, branch
    change: Callable[[dict[str, str]], str]  # files on main
    go_down: Callable[[], None]

    def fetch(self, *, ref: str = MAIN, sha: str | None = None) -> str:
        return self.source.fetch(self.remote, ref=ref, sha=sha, stop=StopSignal())


FILES: dict[str, str] = {"Dockerfile": "FROM scratch", "sub/Dockerfile": "FROM sub"}


@pytest.fixture(params=["fake", "real"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceBench]:
    token = SecretStr("ghp_token")
    if request.param == "fake":
        fake, repository = FakeSource(), FakeRepository(token="ghp_token")
        fake.repositories["https://git.example/octo/web.git"] = repository
        yield SourceBench(
            fake,
            Remote(1, "https://git.example/octo/web.git", token),
            lambda message, branch: repository.commit(FILES, message=message, branch=branch),
            lambda files: repository.commit({**FILES, **files}, message=str(files)),
            lambda: setattr(fake, "down", True),
        )
        return
    with GitServer(tmp_path / "server", token="ghp_token") as server:
        repo = server.repository("octo/web")
        source = GitSource(tmp_path / "mirrors", allowed_schemes=("http",))
        yield SourceBench(
            source,
            Remote(1, repo.url, token),
            lambda message, branch: repo.commit(
                {**FILES, "run": Executable(message.encode())}, message=message, branch=branch
            ),
            lambda files: repo.commit({**FILES, **files}),
            server.stop,
        )


class TestSource:
    def test_a_branch_gives_the_commit_it_points_to_now(self, origin: SourceBench) -> None:
        one = origin.commit("one", "main")
        assert origin.fetch() == one
        two = origin.commit("two\n\nwith a body", "main")
        assert origin.fetch() == two
        found = origin.source.commit(origin.remote, two)
        assert (found.sha, found.message.strip()) == (two, "two\n\nwith a body")
        assert "Ada Lovelace" in found.author

    def test_an_earlier_commit_of_the_branch_can_be_fetched(self, origin: SourceBench) -> None:
        one = origin.commit("one", "main")
        origin.commit("two", "main")
        assert origin.fetch(sha=one) == one
        assert origin.fetch(ref=one) == one

    def test_a_branch_has_a_head_and_a_missing_branch_has_none(self, origin: SourceBench) -> None:
        one = origin.commit("one", "main")
        assert origin.source.head(origin.remote, ref=MAIN, stop=StopSignal()) == one
        none = origin.source.head(origin.remote, ref="refs/heads/none", stop=StopSignal())
        assert none is None

    @pytest.mark.parametrize(
        ("ref", "sha"), [("refs/heads/none", None), (MAIN, "e" * 40), ("e" * 40, None)]
    )
    def test_a_missing_ref_or_commit_is_a_checkout_error(
        self, origin: SourceBench, ref: str, sha: str | None
    ) -> None:
        origin.commit("one", "main")
        with pytest.raises(CheckoutError):
            origin.fetch(ref=ref, sha=sha)

    def test_a_refused_token_is_a_checkout_error(self, origin: SourceBench) -> None:
        origin.commit("one", "main")
        for token in (None, SecretStr("ghp_other")):
            origin.remote = replace(origin.remote, token=token)
            with pytest.raises(CheckoutError):
                origin.fetch()
            with pytest.raises(CheckoutError):
                origin.source.head(origin.remote, ref=MAIN, stop=StopSignal())

    def test_a_server_that_is_down_is_a_git_error(self, origin: SourceBench) -> None:
        origin.commit("one", "main")
        origin.go_down()
        with pytest.raises(GitError):
            origin.fetch()

    def test_a_tree_has_the_files_below_a_folder(self, origin: SourceBench) -> None:
        sha = origin.commit("one", "main")
        origin.fetch()
        with origin.source.tree(origin.remote, sha, folder=".") as tree:
            paths = [entry.path for entry in tree.entries()]
            assert set(FILES) <= set(paths)
            assert paths == sorted(paths)
        with origin.source.tree(origin.remote, sha, folder="sub") as tree:
            (entry,) = tree.entries()
            assert (entry.path, b"".join(tree.read(entry))) == ("Dockerfile", b"FROM sub")

    def test_without_a_tag_there_are_none(self, origin: SourceBench) -> None:
        origin.commit("one", "main")
        assert origin.source.tags(origin.remote, stop=StopSignal()) == {}
        origin.go_down()
        with pytest.raises(GitError):
            origin.source.tags(origin.remote, stop=StopSignal())

    def test_two_commits_differ_in_the_paths_that_were_changed(self, origin: SourceBench) -> None:
        one = origin.change({"sub/a": "1", "b": "1"})
        two = origin.change({"sub/a": "2", "b": "1"})
        again = origin.change({"sub/a": "1", "b": "1"})
        for sha in (one, two, again):
            origin.fetch(sha=sha)
        changed = origin.source.changed
        assert changed(origin.remote, one, two) == frozenset({"sub/a"})
        assert changed(origin.remote, two, one) == frozenset({"sub/a"})
        assert changed(origin.remote, one, again) == frozenset()
        assert changed(origin.remote, one, "e" * 40) is None
        assert changed(origin.remote, "", one) is None

    def test_a_missing_folder_is_a_checkout_error(self, origin: SourceBench) -> None:
        sha = origin.commit("one", "main")
        origin.fetch()
        with (
            pytest.raises(CheckoutError, match="none"),
            origin.source.tree(origin.remote, sha, folder="none"),
        ):
            pytest.fail("opened")

    def test_a_stopped_fetch_raises_the_stop_signals_error(self, origin: SourceBench) -> None:
        origin.commit("one", "main")
        stop = StopSignal()
        stop.set(CancelledError("cancelled by user:ada"))
        with pytest.raises(CancelledError):
            origin.source.fetch(origin.remote, ref=MAIN, sha=None, stop=stop)


# --- Probe -----------------------------------------------------------------------------------


@dataclass
class ProbeBench:
    """A probe, and an app that may or may not answer."""

    probe: Probe
    host: str
    port: int

    def look(self, path: str | None, *, healthy: range = range(200, 400)) -> ProbeResult:
        return self.probe.look(
            self.host, self.port, HealthRequest(path, healthy=healthy), timeout_s=60
        )


@pytest.fixture(params=["fake", "real"])
def answering(request: pytest.FixtureRequest) -> Iterator[ProbeBench]:
    """An app that answers 200."""
    if request.param == "real":
        with Upstream("one") as upstream:
            yield ProbeBench(HttpProbe(), LOCALHOST, int(upstream.address.partition(":")[2]))
        return
    engine = FakeEngine(IDENTITY)
    bench = EngineBench(engine, _ignore_behaviour, FakeHand(engine))
    started = engine.start(bench.spec(bench.build()))
    yield ProbeBench(FakeProbe(engine, FakeRouter([])), started.ip, 8100)


@pytest.fixture(params=["fake", "real"])
def silent(request: pytest.FixtureRequest) -> Iterator[ProbeBench]:
    """An address at which no program listens."""
    if request.param == "fake":
        yield ProbeBench(FakeProbe(FakeEngine(IDENTITY), FakeRouter([])), "10.201.0.9", 8100)
        return
    with deaf_port() as port:
        yield ProbeBench(HttpProbe(), LOCALHOST, port)


def _ignore_behaviour(_behaviour: Behaviour) -> None:
    """Do nothing: an app that works needs no set behaviour."""


class TestProbe:
    def test_an_answer_is_judged_by_its_status(self, answering: ProbeBench) -> None:
        found = answering.look("/health")
        assert (found.healthy, found.status, found.seen) == (True, 200, "status 200")
        found = answering.look("/health", healthy=range(204, 205))
        assert (found.healthy, found.status, found.seen) == (False, 200, "status 200")

    def test_without_a_path_a_connection_is_enough(self, answering: ProbeBench) -> None:
        found = answering.look(None)
        assert (found.healthy, found.status) == (True, None)

    @pytest.mark.parametrize("path", ["/health", None])
    def test_a_refused_connection_is_a_result_and_no_error(
        self, silent: ProbeBench, path: str | None
    ) -> None:
        found = silent.look(path)
        assert (found.healthy, found.status, found.seen) == (False, None, "connection refused")
