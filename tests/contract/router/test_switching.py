"""A release replaces another, and open requests of the old release finish."""

import threading
import time
from contextlib import closing

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.rules.container_values import Route
from tests.contract.router.visits import Connection, ask, visit, wait_for
from tests.haproxy import LOCALHOST, RunningRouter, Upstream, deaf_port, websocket


class TestSwitching:
    def test_a_port_without_a_release_says_so_in_plain_words(self, port: int) -> None:
        assert visit(port) == (503, "No release of this app is live yet.\n")

    def test_a_switch_sends_visitors_to_the_address(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        assert visit(port) == (200, "one")
        assert router.routes() == {port: Route(port, "a", one.address)}

    def test_switching_again_to_the_same_changes_nothing(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        for _ in range(3):
            router.switch(Route(port, "a", one.address))
        assert visit(port) == (200, "one")

    def test_a_visitor_who_stays_connected_reaches_the_new_release(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            assert ask(visitor) == (200, "one")
            router.switch(Route(port, "b", two.address))
            assert ask(visitor) == (200, "two")
        assert router.routes() == {port: Route(port, "b", two.address)}

    def test_apps_do_not_share_what_is_live(
        self, running: RunningRouter, router: HAProxyRouter, one: Upstream, two: Upstream
    ) -> None:
        first, second, third, _ = running.ports
        router.switch(Route(first, "a", one.address))
        router.switch(Route(third, "b", two.address))
        assert [visit(port)[0] for port in (first, second, third)] == [200, 503, 200]
        assert set(router.routes()) == {first, third}

    def test_a_slot_can_be_given_another_address(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.switch(Route(port, "a", two.address))
        assert visit(port) == (200, "two")

    def test_an_interrupted_switch_equals_no_route_until_it_is_repeated(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.switch(Route(port, "b", two.address))
        router._ask(f"set server port_{port}/a state ready")
        assert router.routes() == {port: Route(port, "", "")}
        router.switch(Route(port, "b", two.address))
        assert router.routes() == {port: Route(port, "b", two.address)}

    def test_a_closed_port_answers_as_before_its_first_release(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        router.close(port)
        assert visit(port) == (503, "No release of this app is live yet.\n")
        assert router.routes() == {}

    def test_a_dead_app_gets_a_plain_503(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        with deaf_port() as nowhere:
            router.switch(Route(port, "a", f"{LOCALHOST}:{nowhere}"))
            assert visit(port) == (503, "The app does not answer.\n")
        router.switch(Route(port, "b", one.address))
        assert visit(port) == (200, "one")

    def test_a_request_without_a_connection_is_retried_on_the_new_slot(
        self, router: HAProxyRouter, port: int, two: Upstream
    ) -> None:
        # The router retries for three seconds: a later switch would prove nothing.
        is_late = True
        while is_late:
            with deaf_port() as nowhere:
                router.switch(Route(port, "a", f"{LOCALHOST}:{nowhere}"))
                begun, late = time.monotonic(), list[float]()

                def switch() -> None:
                    router.switch(Route(port, "b", two.address))
                    late.append(time.monotonic() - begun)  # noqa: B023 — joined below

                switching = threading.Timer(0.3, switch)
                switching.start()
                answer = visit(port)
                switching.join()
            is_late = late[0] > 2
        assert answer == (200, "two")


class TestDraining:
    def test_an_idle_visitor_is_not_in_flight(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            ask(visitor)
            wait_for(lambda: router.in_flight(port, "a") == 0)
            assert ask(visitor) == (200, "one")

    def test_running_requests_count_down_to_nothing_on_the_old_slot(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        answers: list[tuple[int, str]] = []
        visitors = [
            threading.Thread(target=lambda: answers.append(visit(port, "/held"))) for _ in range(3)
        ]
        for visitor in visitors:
            visitor.start()
        wait_for(lambda: router.in_flight(port, "a") == 3)
        router.switch(Route(port, "b", two.address))
        assert visit(port) == (200, "two")
        assert router.in_flight(port, "a") == 3
        one.let_go.set()
        for visitor in visitors:
            visitor.join(timeout=60)
        wait_for(lambda: router.in_flight(port, "a") == 0)
        assert answers == [(200, "halfhalf")] * 3

    def test_a_websocket_survives_the_switch_and_is_cut_by_the_detach(
        self, router: HAProxyRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(websocket(port)) as tunnel:
            assert router.in_flight(port, "a") == 1
            router.switch(Route(port, "b", two.address))
            tunnel.sendall(b"still here")
            assert tunnel.recv(100) == b"still here"
            assert router.in_flight(port, "a") == 1
            router.detach(port, "a")
            assert tunnel.recv(100) == b""
        wait_for(lambda: router.in_flight(port, "a") == 0)
        assert visit(port) == (200, "two")

    def test_a_visitor_who_leaves_is_not_waited_for(
        self, router: HAProxyRouter, port: int, one: Upstream
    ) -> None:
        router.switch(Route(port, "a", one.address))
        with closing(Connection(LOCALHOST, port, timeout=60)) as visitor:
            visitor.request("GET", "/held")
            with closing(visitor.getresponse()) as answer:
                assert answer.read(4) == b"half"  # the router passes this on before the rest exists
            assert router.in_flight(port, "a") == 1
        wait_for(lambda: router.in_flight(port, "a") == 0)

    def test_detaching_and_closing_twice_is_fine(self, router: HAProxyRouter, port: int) -> None:
        for _ in range(2):
            router.detach(port, "a")
            router.close(port)
        assert visit(port)[0] == 503
