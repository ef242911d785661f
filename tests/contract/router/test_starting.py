"""How a router starts again, and which calls fail."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import SecretStr

from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.errors import RouterError
from jobs.rules.container_values import Route
from tests.contract.router.visits import visit
from tests.haproxy import LOCALHOST, RunningRouter, Upstream, free_ports, running_router


class TestStarting:
    def test_a_router_that_crashed_serves_the_live_release_at_once(
        self, running: RunningRouter, port: int, one: Upstream
    ) -> None:
        running.adapter.switch(Route(port, "b", one.address))
        routes = running.adapter.routes()
        running.kill()
        running.start(routes.values())
        assert visit(port) == (200, "one")
        assert running.adapter.routes() == routes

    def test_the_release_live_at_start_can_be_switched_away_from(
        self, running: RunningRouter, port: int, one: Upstream, two: Upstream
    ) -> None:
        running.kill()
        running.start([Route(port, "a", one.address)])
        running.adapter.switch(Route(port, "b", two.address))
        running.adapter.detach(port, "a")
        assert visit(port) == (200, "two")

    def test_the_port_of_another_program_is_left_alone(self, tmp_path: Path) -> None:
        ports = free_ports(5)
        with socket.create_server((LOCALHOST, ports[2])):
            usable = ports[:2] + ports[3:]
            with running_router(tmp_path, ports=usable) as running:
                assert [visit(port)[0] for port in usable] == [503] * 4
                with pytest.raises(RouterError, match=f"does not listen on port {ports[2]}"):
                    running.adapter.switch(Route(ports[2], "a", "127.0.0.1:9"))

    def test_two_routers_never_share_a_port(self, running: RunningRouter, tmp_path: Path) -> None:
        (tmp_path / "second").mkdir()
        with (
            pytest.raises(RuntimeError, match="Address already in use"),
            running_router(tmp_path / "second", ports=running.ports),
        ):
            pytest.fail("a second router took the first one's ports")

    def test_a_whole_range_of_ports_is_up_within_the_deadline(self, tmp_path: Path) -> None:
        ports = free_ports(1000)
        routes = [Route(port, "a", "127.0.0.1:9") for port in ports]
        with running_router(tmp_path, ports=ports, routes=routes) as running:
            assert running.adapter.routes() == {route.port: route for route in routes}

    def test_an_odd_folder_is_no_problem(self) -> None:
        # Not below `tmp_path`, whose path is too long for a socket.
        with (
            TemporaryDirectory(prefix='it\'s a "data" dir #1') as folder,
            running_router(Path(folder)) as running,
        ):
            assert running.adapter.version()[0].isdigit()

    def test_the_runtime_api_is_for_this_user_only(self, running: RunningRouter) -> None:
        assert (running.folder / "router.sock").stat().st_mode & 0o777 == 0o600


class TestRefusing:
    def test_without_a_router_every_call_says_so(self, tmp_path: Path) -> None:
        router = HAProxyRouter(tmp_path / "router.sock")
        calls: list[Callable[[], object]] = [
            router.version,
            router.routes,
            lambda: router.switch(Route(20000, "a", "127.0.0.1:9")),
            lambda: router.in_flight(20000, "a"),
            lambda: router.detach(20000, "a"),
            lambda: router.close(20000),
        ]
        for call in calls:
            with pytest.raises(RouterError, match="the router does not answer"):
                call()

    def test_with_patience_a_call_waits_for_the_router_to_start_again(
        self, running: RunningRouter
    ) -> None:
        running.kill()
        starting = threading.Timer(0.5, running.start)
        starting.start()
        patient = HAProxyRouter(running.folder / "router.sock", patience_s=60)
        assert patient.routes() == {}
        starting.join()

    def test_a_call_to_a_hanging_router_times_out(self, tmp_path: Path) -> None:
        path = tmp_path / "router.sock"
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(path))
            silent.listen()
            started = time.monotonic()
            with pytest.raises(RouterError, match="timed out"):
                HAProxyRouter(path, timeout_s=0.2).routes()
        assert time.monotonic() - started < 30

    def test_a_call_to_a_router_that_answers_too_slowly_times_out(self, tmp_path: Path) -> None:
        path = tmp_path / "router.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            dribble = threading.Thread(target=_dribble, args=(listener,))
            dribble.start()
            started = time.monotonic()
            with pytest.raises(RouterError, match="the router does not answer"):
                HAProxyRouter(path, timeout_s=0.3).routes()
            assert time.monotonic() - started < 30
            dribble.join(timeout=60)

    def test_a_port_the_router_does_not_listen_on(self, router: HAProxyRouter) -> None:
        with pytest.raises(RouterError, match="does not listen on port 1999"):
            router.switch(Route(1999, "a", "127.0.0.1:9"))
        router.close(1999)
        router.detach(1999, "a")
        assert router.in_flight(1999, "a") == 0

    @pytest.mark.parametrize(
        "route",
        [
            Route(20000, "c", "127.0.0.1:9"),
            Route(20000, "a; shutdown", "127.0.0.1:9"),
            Route(20000, "a", "localhost:80"),
            Route(20000, "a", "127.0.0.1"),
            Route(20000, "a", "127.0.0.1:99999"),
            Route(20000, "a", "127.0.0.1:9; show info"),
            Route(20000, "a", ""),
        ],
    )
    def test_an_invalid_route_never_reaches_the_router(self, tmp_path: Path, route: Route) -> None:
        with pytest.raises(RouterError, match=r"slot|dial"):
            HAProxyRouter(tmp_path / "nobody-listens").switch(route)

    def test_a_refusal_contains_the_routers_own_message(self, tmp_path: Path, port: int) -> None:
        """A router with another configuration: it has the port, but not the slots."""
        table = (
            f"1\n# be_id be_name srv_name srv_addr srv_port srv_admin_state\n3 port_{port} x - 0 0"
        )
        with (
            answering(tmp_path, "\nadmin\n\n", f"No such server.\n\n{table}\n\nadmin\n\n") as file,
            pytest.raises(RouterError, match=r"did not switch port \d+: No such server\."),
        ):
            HAProxyRouter(file, timeout_s=60).switch(Route(port, "a", "127.0.0.1:9"))


class TestEndingInTheMiddle:
    @pytest.mark.parametrize("answer", ["", "\n", "\n\n\n\n", "\n\n\n1\n# be_id be_name\n3 po"])
    def test_an_incomplete_answer_is_an_error(self, tmp_path: Path, port: int, answer: str) -> None:
        with (
            answering(tmp_path, answer) as file,
            pytest.raises(RouterError, match="it ended in the middle of its answer"),
        ):
            HAProxyRouter(file, timeout_s=60).switch(Route(port, "a", "127.0.0.1:9"))

    def test_a_call_is_repeated_after_an_incomplete_answer(self, tmp_path: Path) -> None:
        with answering(tmp_path, "", "\n\n", "1\n# be_name\n\nadmin\n\n") as file:
            assert HAProxyRouter(file, timeout_s=60, patience_s=60).routes() == {}

    def test_an_incomplete_answer_about_certificates_is_an_error(self, tmp_path: Path) -> None:
        listed = "# transaction\n# filename\n\n# certificates.list\n\nadmin\n\n"
        with (
            answering(tmp_path, listed, "New empty certificate store") as file,
            pytest.raises(RouterError, match="it ended in the middle of its answer"),
        ):
            HAProxyRouter(file, timeout_s=60).serve_certificates({"a.example": SecretStr("pem")})


@contextmanager
def answering(folder: Path, *answers: str) -> Iterator[Path]:
    """Run a fake router that gives these answers and then closes."""
    file = folder / "answering.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(file))
        listener.listen()
        thread = threading.Thread(target=_answer, args=(listener, answers))
        thread.start()
        yield file
        thread.join(timeout=60)


def _answer(listener: socket.socket, answers: Iterable[str]) -> None:
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer.encode())


def _dribble(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        while True:  # until the reader closes
            connection.sendall(b"#")
            time.sleep(0.02)
