"""Old assets: what the live release answers with 404 is asked of the warm one, and nothing else."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path

import pytest

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.adapters.haproxy.shares import OWN_SOURCE
from jobs.deployment.draining import drain
from jobs.rules.container_values import Route, Warm
from tests.contract.router.reloadable import Reloadable, socket_folder
from tests.contract.router.visits import Connection, visit, wait_for
from tests.haproxy import LOCALHOST, RunningRouter, Upstream, free_ports, websocket

OLD, NEW, BOTH = "/assets/old-1.js", "/assets/new-2.js", "/assets/logo.svg"
PATHS = frozenset({"/assets/*", "/app.css"})


@pytest.fixture
def one(one: Upstream) -> Upstream:
    """The replaced release."""
    one.assets |= {OLD, BOTH}
    return one


@pytest.fixture
def two(two: Upstream) -> Upstream:
    """The live release."""
    two.assets |= {NEW, BOTH}
    return two


@pytest.fixture
def kept(router: HAProxyRouter, port: int, one: Upstream, two: Upstream) -> Warm:
    """A port whose replaced release is warm."""
    warm = Warm(port, "b", one.address, PATHS)
    router.switch(Route(port, "a", one.address))
    router.warm(warm)
    router.switch(Route(port, "b", two.address))
    return warm


def get(port: int, path: str, method: str = "GET", source: str = LOCALHOST) -> tuple[int, str]:
    with closing(Connection(LOCALHOST, port, timeout=60, source_address=(source, 0))) as connection:
        connection.request(method, path)
        answer: HTTPResponse = connection.getresponse()
        return answer.status, answer.read().decode()


class TestOldAssets:
    def test_the_live_release_is_asked_first(self, kept: Warm) -> None:
        assert get(kept.port, NEW) == (200, "two")
        assert get(kept.port, BOTH) == (200, "two")

    def test_an_asset_that_only_the_warm_release_has_comes_from_it(self, kept: Warm) -> None:
        assert get(kept.port, OLD) == (200, "one")
        assert get(kept.port, f"{OLD}?v=1") == (404, "one has no /assets/old-1.js?v=1")
        assert get(kept.port, OLD, "HEAD") == (200, "")

    def test_what_neither_has_is_a_404(self, kept: Warm) -> None:
        assert get(kept.port, "/assets/none")[0] == 404

    def test_nothing_else_is_asked_of_the_warm_release(self, kept: Warm, two: Upstream) -> None:
        for path in ("/", "/other/assets/", "/app.css.map", "/headers"):
            assert get(kept.port, path)[0] == 200
        assert get(kept.port, "/") == (200, "two")
        with closing(Connection(LOCALHOST, kept.port, timeout=60)) as connection:
            connection.request("POST", OLD, body=b"some")
            assert connection.getresponse().read() == b"two"
        assert len(two.posted) == 1

    def test_the_health_check_sees_the_live_release_only(self, kept: Warm) -> None:
        assert get(kept.port, OLD, source=OWN_SOURCE) == (404, f"two has no {OLD}")

    def test_the_app_is_told_nothing_of_it(self, router: HAProxyRouter, kept: Warm) -> None:
        plain = get(kept.port, "/headers")[1]
        router.warm(Warm(kept.port, "b", kept.address, frozenset({"/headers"})))
        assert get(kept.port, "/headers")[1] == plain
        assert "keystone" not in plain

    def test_apps_do_not_share_old_assets(
        self, running: RunningRouter, router: HAProxyRouter, kept: Warm, two: Upstream
    ) -> None:
        other = running.ports[1]
        router.switch(Route(other, "a", two.address))
        assert get(other, OLD)[0] == 404
        assert router.warmed() == {kept.port: kept}

    def test_a_warm_release_that_died_is_a_404(self, kept: Warm, one: Upstream) -> None:
        one.stop()
        assert get(kept.port, OLD)[0] == 404
        one.__post_init__()  # the fixture stops it again

    def test_the_end(self, router: HAProxyRouter, kept: Warm) -> None:
        router.cool(kept.port)
        assert router.warmed() == {}
        assert get(kept.port, OLD) == (404, f"two has no {OLD}")
        router.cool(kept.port)
        router.cool(1)

    def test_it_outlasts_the_drain_of_its_slot(
        self, router: HAProxyRouter, kept: Warm, one: Upstream
    ) -> None:
        router.detach(kept.port, "a")
        assert get(kept.port, OLD) == (200, one.name)
        assert router.warmed() == {kept.port: kept}
        assert router.routes()[kept.port].slot == "b"

    def test_the_live_slot_stays_live(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.warm(Warm(port, "b", one.address, PATHS))
        assert visit(port) == (200, "one")
        assert router.routes() == {port: Route(port, "a", one.address)}

    def test_a_rollback_to_the_warm_release(
        self, router: HAProxyRouter, kept: Warm, two: Upstream
    ) -> None:
        router.warm(Warm(kept.port, "a", two.address, PATHS))
        router.switch(Route(kept.port, "a", kept.address))
        assert visit(kept.port) == (200, "one")
        assert get(kept.port, NEW) == (200, "two")
        assert get(kept.port, BOTH) == (200, "one")

    def test_an_asset_counts_as_a_request_of_its_slot(
        self, router: HAProxyRouter, kept: Warm, two: Upstream
    ) -> None:
        router.warm(Warm(kept.port, "b", kept.address, frozenset({"/held"})))
        held = threading.Thread(target=get, args=(kept.port, "/held"))
        held.start()
        wait_for(lambda: router.in_flight(kept.port, "b") == 1)
        assert router.in_flight(kept.port, "a") == 0
        two.let_go.set()
        held.join(timeout=60)
        wait_for(lambda: router.in_flight(kept.port, "b") == 0)

    def test_a_websocket_below_an_asset_path(self, router: HAProxyRouter, kept: Warm) -> None:
        router.warm(Warm(kept.port, "b", kept.address, frozenset({"/*"})))
        with closing(websocket(kept.port)) as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"


class TestAfterARestart:
    def test_a_router_that_crashed_knows_it_from_its_files(
        self, running: RunningRouter, kept: Warm, two: Upstream
    ) -> None:
        running.kill()
        live = Route(kept.port, "b", two.address)
        running.start([live], warm=[kept])
        assert running.adapter.routes() == {kept.port: live}
        assert running.adapter.warmed() == {kept.port: kept}
        assert [get(kept.port, path) for path in (OLD, NEW, "/")] == [
            (200, "one"),
            (200, "two"),
            (200, "two"),
        ]

    def test_a_rollback_after_it(self, running: RunningRouter, kept: Warm, two: Upstream) -> None:
        running.kill()
        running.start([Route(kept.port, "b", two.address)], warm=[kept])
        running.adapter.cool(kept.port)
        running.adapter.switch(Route(kept.port, "a", kept.address))
        assert visit(kept.port) == (200, "one")
        assert running.adapter.routes() == {kept.port: Route(kept.port, "a", kept.address)}


def test_no_request_for_an_asset_fails_during_swaps(
    router: HAProxyRouter, port: int, one: Upstream, two: Upstream
) -> None:
    """Every asset of the live and of the replaced release is there at any moment."""
    over, seen = threading.Event(), Counter[tuple[str, int]]()
    router.switch(Route(port, "a", one.address))
    router.warm(Warm(port, "a", one.address, PATHS))
    router.switch(Route(port, "b", two.address))

    def ask_on(path: str) -> None:
        with closing(Connection(LOCALHOST, port, timeout=60)) as connection:
            while not over.is_set():
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                seen[path, answer.status] += 1

    asking = [threading.Thread(target=ask_on, args=(path,)) for path in (OLD, NEW, BOTH) * 2]
    for thread in asking:
        thread.start()
    for _ in range(30):
        router.warm(Warm(port, "b", two.address, PATHS))
        router.switch(Route(port, "a", one.address))
        drain(router, port, "b", within_s=60)
        router.warm(Warm(port, "a", two.address, PATHS))
        time.sleep(0.05)
        router.warm(Warm(port, "a", one.address, PATHS))
        router.switch(Route(port, "b", two.address))
        drain(router, port, "a", within_s=60)
        router.warm(Warm(port, "b", one.address, PATHS))
        time.sleep(0.05)
    over.set()
    for thread in asking:
        thread.join(timeout=60)
    assert {status for _, status in seen} == {200}, seen
    assert sum(seen.values()) > 100


@pytest.fixture
def reloadable(tmp_path: Path) -> Iterator[Reloadable]:
    """A router that reloads its files, as the keeper's does."""
    with socket_folder() as sockets:
        router = Reloadable(tmp_path, sockets, free_ports(2))
        try:
            router.start()
            yield router
        finally:
            router.end()


class TestReload:
    def test_a_reload_keeps_it_from_the_files(
        self, reloadable: Reloadable, one: Upstream, two: Upstream
    ) -> None:
        port, router = reloadable.ports[0], reloadable.adapter
        warm = Warm(port, "b", one.address, PATHS)
        router.switch(Route(port, "a", one.address))
        router.warm(warm)
        reloadable.reload()
        router.switch(Route(port, "b", two.address))
        for _ in range(2):
            assert router.warmed() == {port: warm}
            assert router.routes()[port] == Route(port, "b", two.address)
            assert [get(port, path) for path in (OLD, NEW, "/")] == [
                (200, "one"),
                (200, "two"),
                (200, "two"),
            ]
            reloadable.reload()
        router.cool(port)
        assert get(port, OLD)[0] == 404
        reloadable.reload()
        assert router.warmed() == {}
        assert get(port, OLD)[0] == 404
        # The slot that was warm becomes live, and stays so.
        router.switch(Route(port, "a", one.address))
        reloadable.reload()
        assert get(port, "/") == (200, "one")

    def test_a_visitor_of_the_worker_before_gets_the_assets_of_now(
        self, reloadable: Reloadable, one: Upstream, two: Upstream
    ) -> None:
        port, router = reloadable.ports[0], reloadable.adapter
        router.switch(Route(port, "a", one.address))
        router.warm(Warm(port, "b", one.address, PATHS))
        router.switch(Route(port, "b", two.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:

            def asked(path: str) -> tuple[int, str]:
                visitor.request("GET", path)
                answer = visitor.getresponse()
                return answer.status, answer.read().decode()

            assert asked(OLD) == (200, "one")
            assert asked("/") == (200, "two")
            held = threading.Thread(target=get, args=(port, "/held"))
            held.start()
            wait_for(lambda: router.in_flight(port, "b") == 1)
            reloadable.reload()
            router.warm(Warm(port, "a", two.address, PATHS))
            router.switch(Route(port, "a", one.address))
            assert asked(NEW) == (200, "two")
            assert asked(OLD) == (200, "one")
            two.let_go.set()
            held.join(timeout=60)
