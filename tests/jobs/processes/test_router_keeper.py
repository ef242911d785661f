"""The router's keeper with a real HAProxy: it is started again, adopted, reloaded and stopped."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest

from jobs.adapters.haproxy.moved import MOVED
from jobs.errors import RouterError
from jobs.processes.router_control import (
    ensure_keeper,
    is_kept,
    is_outdated,
    leave,
    reload_router,
    router_pids,
    router_state,
    start_keeper,
    stop_keeper,
)
from jobs.processes.router_server import installed_haproxy
from jobs.rules.container_values import Route
from jobs.system.haproxy_process import old_workers
from tests.certificates import Authority
from tests.haproxy import LOCALHOST, Upstream, free_ports, websocket
from tests.kept_router import KeptRouter, get, is_alive, kept_router, until


@pytest.fixture
def router(tmp_path: Path) -> Iterator[KeptRouter]:
    """A router with four ports."""
    with kept_router(tmp_path / "keystone") as router:
        yield router


@pytest.fixture
def red() -> Iterator[Upstream]:
    """A release."""
    with Upstream("red") as upstream:
        yield upstream


@pytest.fixture
def blue() -> Iterator[Upstream]:
    """Another release."""
    with Upstream("blue") as upstream:
        yield upstream


# --- Crashes ---------------------------------------------------------------------------------


def test_a_haproxy_that_dies_is_back_with_the_routes_that_were_switched_since(
    router: KeptRouter, red: Upstream, blue: Upstream
) -> None:
    first, second, third, _ = router.ports
    router.adapter.switch(Route(first, "a", red.address))
    router.adapter.switch(Route(second, "a", red.address))
    router.adapter.switch(Route(second, "b", blue.address))
    router.adapter.switch(Route(third, "a", red.address))
    router.adapter.close(third)
    before = router.state.haproxy
    os.kill(before, signal.SIGKILL)
    until(lambda: router.state.haproxy not in (0, before), "another one runs")
    router.wait_until_up()
    assert [get(port) for port in (first, second)] == [(200, "red"), (200, "blue")]
    assert get(third)[0] == 503
    assert set(router.adapter.routes()) == {first, second}
    assert "ended by signal 9" in router.log


def test_a_killed_keeper_leaves_haproxy_serving_and_the_next_one_adopts_it(
    router: KeptRouter, red: Upstream
) -> None:
    port = router.ports[0]
    router.adapter.switch(Route(port, "a", red.address))
    before = router.state
    router.kill_keeper()
    assert not is_kept(router.run_dir)
    assert get(port) == (200, "red")
    router.start()
    assert router.state.haproxy == before.haproxy
    assert router.state.keeper != before.keeper
    # What it did not start is reloaded and looked after, too.
    for _ in range(2):
        reload_router(router.run_dir)
        assert get(port) == (200, "red")
    assert router.state.haproxy == before.haproxy
    os.kill(before.haproxy, signal.SIGKILL)
    until(lambda: router.state.haproxy not in (0, before.haproxy), "another one runs")
    router.wait_until_up()
    assert get(port) == (200, "red")


def test_there_is_one_keeper_at_most(router: KeptRouter) -> None:
    before = router.state
    start_keeper(router.arguments)
    ensure_keeper(router.run_dir, router.arguments)
    assert router.state == before


def test_a_keeper_with_other_arguments_is_replaced_without_a_restart_of_haproxy(
    router: KeptRouter,
) -> None:
    before = router.state
    ensure_keeper(router.run_dir, [*router.arguments[:-2]])
    router.wait_until_up()
    assert router.state.keeper != before.keeper
    assert router.state.haproxy == before.haproxy
    leave(router.run_dir)
    assert is_alive(before.haproxy)


def test_a_stopped_worker_is_killed_and_replaced(router: KeptRouter, red: Upstream) -> None:
    port = router.ports[0]
    router.adapter.switch(Route(port, "a", red.address))
    (_, master, worker) = router_pids(router.run_dir)
    os.kill(worker, signal.SIGSTOP)
    until(lambda: router.state.haproxy not in (0, master), "another one runs")
    router.wait_until_up()
    assert get(port) == (200, "red")


def test_a_haproxy_that_cannot_start_is_tried_again_until_it_can(router: KeptRouter) -> None:
    stop_keeper(router.run_dir, router.config, router.arguments)
    good = router.config.read_text()
    router.config.write_text(good + "rubbish\n")
    start_keeper(router.arguments)
    until(lambda: "unknown keyword 'rubbish'" in router.log, "it says why")
    until(lambda: noted_error(router), "it has noted why")
    assert "rubbish" in noted_error(router)
    router.config.write_text(good)
    router.wait_until_up()
    assert not router.state.error


def noted_error(router: KeptRouter) -> str:
    """Give the error that the keeper has noted; empty before it has."""
    state = router_state(router.run_dir)
    return state.error if state else ""


# --- Its end ---------------------------------------------------------------------------------


def test_the_owners_end_is_the_routers_end(tmp_path: Path) -> None:
    with kept_router(tmp_path / "keystone") as router:
        stop_keeper(router.run_dir, router.config, router.arguments)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
            router.owner = owner.pid
            router.start()
            pids = router_pids(router.run_dir)
            assert len(pids) == 3
            owner.kill()
        until(lambda: not any(map(is_alive, pids)), "all of it has ended")


def test_a_stop_lets_a_request_under_way_finish(router: KeptRouter, red: Upstream) -> None:
    port = router.ports[0]
    router.adapter.switch(Route(port, "a", red.address))
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(get(port, path="/held")))
    asking.start()
    until(lambda: router.adapter.in_flight(port, "a") == 1, "it is under way")
    pids = router_pids(router.run_dir)
    threading.Timer(1.0, red.let_go.set).start()
    stop_keeper(router.run_dir, router.config, router.arguments)
    asking.join(60)
    assert answers == [(200, "halfhalf")]
    until(lambda: not any(map(is_alive, pids)), "all of it has ended")


def test_a_haproxy_without_a_keeper_is_stopped_too(router: KeptRouter) -> None:
    haproxy = router.state.haproxy
    router.kill_keeper()
    stop_keeper(router.run_dir, router.config, router.arguments)
    assert not is_alive(haproxy)


# --- Reload ----------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """Asks again and again over one kept connection, and counts what fails."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.answers = 0
        self.failures: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        connection = HTTPConnection(LOCALHOST, self.port, timeout=60)
        while not self.is_over.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {body}")
                self.answers += 1
            except OSError as exc:
                self.failures.append(repr(exc))
                connection.close()
            time.sleep(0.001)
        connection.close()

    def end(self) -> None:
        """Stop asking."""
        self.is_over.set()
        self.join(60)


def have_answers(visitors: Sequence[Visitor], wanted: int) -> bool:
    """Whether the visitors have that many answers."""
    return sum(visitor.answers for visitor in visitors) > wanted


def test_a_reload_under_load_fails_no_request_and_cuts_no_connection(
    router: KeptRouter, red: Upstream
) -> None:
    port, other, *_ = router.ports
    router.adapter.switch(Route(port, "a", red.address))
    before = router.state
    visitors = [Visitor(port) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    answers: list[tuple[int, str]] = []
    held = threading.Thread(target=lambda: answers.append(get(port, path="/held")))
    held.start()
    with websocket(port) as tunnel:
        until(lambda: router.adapter.in_flight(port, "a") >= 2, "both are under way")
        for _ in range(5):
            wanted = sum(visitor.answers for visitor in visitors) + 50
            reload_router(router.run_dir)
            until(partial(have_answers, visitors, wanted), "requests are answered after it")
        # The former workers' requests count, until they have ended.
        assert router.adapter.in_flight(port, "a") >= 2
        tunnel.sendall(b"hello")
        assert tunnel.recv(100) == b"hello"
        red.let_go.set()
        held.join(60)
    for visitor in visitors:
        visitor.end()
    assert [visitor.failures for visitor in visitors] == [[]] * 8
    assert answers == [(200, "halfhalf")]
    assert (router.state.haproxy, router.state.reloads) == (before.haproxy, before.reloads + 5)
    assert get(other)[0] == 503


def test_an_idle_connection_follows_the_switches_after_a_reload(
    router: KeptRouter, red: Upstream, blue: Upstream
) -> None:
    """A former worker still has it, and would ask a release that has ended."""
    first, second, third, _ = router.ports
    for port in (first, second, third):
        router.adapter.switch(Route(port, "a", red.address))
    idle = {port: HTTPConnection(LOCALHOST, port, timeout=60) for port in (first, second, third)}
    for connection in idle.values():
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"red"
    reload_router(router.run_dir)
    assert old_workers(router.run_dir / "master.sock")
    router.adapter.switch(Route(first, "b", blue.address))
    router.adapter.detach(first, "a")
    router.adapter.close(third)
    told = {}
    for port, connection in idle.items():
        connection.request("GET", "/")
        answer = connection.getresponse()
        told[port] = (answer.status, answer.read().decode())
        connection.close()
    assert (told[first], told[second], told[third][0]) == ((200, "blue"), (200, "red"), 503)
    assert (router.config.parent / MOVED).read_text() == ""


def test_a_reload_takes_new_ports_domains_and_certificates(tmp_path: Path, red: Upstream) -> None:
    http, https, *more = free_ports(6)
    authority = Authority()
    with kept_router(tmp_path / "keystone", http=http, https=https) as router:
        port = router.ports[0]
        router.adapter.switch(Route(port, "a", red.address))
        router.adapter.serve_domains({"a.example": port})
        router.adapter.serve_certificates({"a.example": authority.issue("a.example").bundle})
        kept = list((router.config.parent / "certificates").iterdir())
        assert len(kept) == 2
        assert get(http, host="a.example")[0] == 308
        # From the files alone, as after a crash while Keystone is down.
        before = router.state.haproxy
        os.kill(before, signal.SIGKILL)
        until(lambda: router.state.haproxy not in (0, before), "another one runs")
        router.wait_until_up()
        assert get(http, host="a.example")[0] == 308
        assert get(http, host="b.example")[0] == 421
        router.adapter.serve_certificates({})
        router.adapter.serve_domains({"b.example": port})
        reload_router(router.run_dir)
        assert get(http, host="a.example")[0] == 421
        assert get(http, host="b.example") == (200, "red")
        assert len(list((router.config.parent / "certificates").iterdir())) == 1
        router.ports = [*router.ports, *more]
        router.write(domains={"b.example": port})
        reload_router(router.run_dir)
        assert {get(each)[0] for each in more} == {503}
        assert get(port) == (200, "red")


def test_a_broken_configuration_is_not_loaded(router: KeptRouter, red: Upstream) -> None:
    port = router.ports[0]
    router.adapter.switch(Route(port, "a", red.address))
    good = router.config.read_text()
    router.config.write_text(good + "rubbish\n")
    with pytest.raises(RouterError, match="unknown keyword 'rubbish'"):
        reload_router(router.run_dir)
    assert get(port) == (200, "red")
    assert "rubbish" in router.state.error
    router.config.write_text(good)
    reload_router(router.run_dir)
    assert not router.state.error


def test_a_port_that_another_program_has_makes_the_reload_fail_alone(
    router: KeptRouter, red: Upstream
) -> None:
    port = router.ports[0]
    router.adapter.switch(Route(port, "a", red.address))
    good, (taken,) = list(router.ports), [int(red.address.rpartition(":")[2])]
    router.ports = [*good, taken]
    router.write()
    with pytest.raises(RouterError, match="cannot bind"):
        reload_router(router.run_dir)
    assert get(port) == (200, "red")
    router.ports = good
    router.write()
    reload_router(router.run_dir)
    assert get(port) == (200, "red")


def test_a_new_program_is_taken_by_a_reload(tmp_path: Path, red: Upstream) -> None:
    program = tmp_path / "haproxy"
    shutil.copy(installed_haproxy(), program)
    with kept_router(tmp_path / "keystone", program=str(program)) as router:
        port = router.ports[0]
        router.adapter.switch(Route(port, "a", red.address))
        assert not is_outdated(router.state, program)
        newer = tmp_path / "newer"
        shutil.copy(installed_haproxy(), newer)
        newer.replace(program)
        inode = program.stat().st_ino
        assert is_outdated(router.state, program)
        reload_router(router.run_dir)
        assert not is_outdated(router.state, program)
        assert Path(f"/proc/{router.state.haproxy}/exe").stat().st_ino == inode
        assert get(port) == (200, "red")
        # One at another path is taken by a keeper that is told of it.
        router.program = installed_haproxy()
        ensure_keeper(router.run_dir, router.arguments)
        router.wait_until_up()
        reload_router(router.run_dir)
        exe = Path(f"/proc/{router.state.haproxy}/exe").stat()
        assert exe.st_ino == Path(installed_haproxy()).stat().st_ino
        assert get(port) == (200, "red")


def test_switches_and_reloads_at_once_lose_no_switch(
    router: KeptRouter, red: Upstream, blue: Upstream
) -> None:
    over = threading.Event()
    wrong: list[object] = []
    wanted: dict[int, Route] = {}

    def switch(port: int) -> None:
        number = 0
        while not over.is_set():
            slot, upstream = ("a", red) if number % 2 else ("b", blue)
            wanted[port] = Route(port, slot, upstream.address)
            try:
                router.adapter.switch(wanted[port])
                if (found := get(port)) != (200, upstream.name):
                    wrong.append((port, found, upstream.name))
            except (OSError, RouterError) as exc:
                wrong.append(exc)
            number += 1

    threads = [threading.Thread(target=switch, args=(port,)) for port in router.ports]
    for thread in threads:
        thread.start()
    for _ in range(10):
        reload_router(router.run_dir)
    over.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert router.adapter.routes() == wanted
    before = router.state.haproxy
    os.kill(before, signal.SIGKILL)
    until(lambda: router.state.haproxy not in (0, before), "another one runs")
    router.wait_until_up()
    assert router.adapter.routes() == wanted


# --- Interrupted changes ---------------------------------------------------------------------


def test_a_switch_that_did_not_reach_the_files_is_told_and_can_be_repeated(
    router: KeptRouter, red: Upstream, blue: Upstream
) -> None:
    port = router.ports[0]
    old, new = Route(port, "a", red.address), Route(port, "b", blue.address)
    router.adapter.switch(old)
    router.adapter._switch(new)  # as if it were killed here
    unsettled = router.adapter.routes()[port]
    assert unsettled not in (old, new)
    router.adapter.switch(old)
    assert router.adapter.routes() == {port: old}
    router.adapter._switch(new)
    router.adapter.close(port)
    assert router.adapter.routes() == {}
    assert router.files.routes()[port] is None


def test_a_full_disk_makes_a_switch_fail_and_leaves_the_files_whole(
    router: KeptRouter, red: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = router.ports[0]
    text = router.config.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(RouterError, match="No space left"):
            router.adapter.switch(Route(port, "a", red.address))
    assert router.config.read_text() == text
    with suppress(FileNotFoundError):
        (router.config.parent / "haproxy.cfg.draft").unlink()
    router.adapter.switch(Route(port, "a", red.address))
    assert get(port) == (200, "red")
