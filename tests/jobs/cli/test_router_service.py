"""A real `keystone up` and its router, which outlives it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from jobs.processes.router_control import RouterState, router_pids, router_state
from jobs.processes.router_service import stop_router
from jobs.processes.runtime import open_runtime
from jobs.records.apps import add_app
from jobs.rules.actors import KEYSTONE
from jobs.rules.app_fields import AppInput
from jobs.rules.port_range import PortRange
from jobs.system.listening import bind_error
from jobs.system.router_files import RELOAD_WANTED
from tests.haproxy import Upstream, free_ports
from tests.jobs.cli.running import STOPS_WITHIN_S, Up, running
from tests.kept_router import get, is_alive, until


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A Keystone that is up."""
    with running(tmp_path) as up:
        yield up


@pytest.fixture
def red() -> Iterator[Upstream]:
    """A release."""
    with Upstream("red") as upstream:
        yield upstream


def state_of(up: Up) -> RouterState:
    """Give what the keeper has noted."""
    found = router_state(up.settings.run_dir)
    assert found is not None
    return found


def go_live(up: Up, upstream: Upstream) -> int:
    """Have an app whose live release is that one; the watcher leads its port there."""
    first, _, last = up.environ["KEYSTONE_PORT_RANGE"].partition("-")
    ports = PortRange(first=int(first), last=int(last))
    runtime = open_runtime(up.settings.model_copy(update={"port_range": ports}))
    wanted = AppInput(name="web", repository="octo/web")
    with runtime.database.writing() as session:
        app = add_app(session, wanted, KEYSTONE, settings=runtime.settings, vault=runtime.vault).app
        app.live_slot, app.live_address = "a", upstream.address
        session.add(app)
        port = app.host_port
    runtime.database.close()
    until(lambda: get(port) == (200, "red"), "the watcher leads the port there")
    return port


def command(up: Up, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in the Keystone's folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "jobs.cli", *arguments],
        cwd=up.folder,
        env=up.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STOPS_WITHIN_S,
        check=False,
    )


def test_the_router_outlives_keystone_and_is_adopted_by_the_next_one(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    idle = HTTPConnection("127.0.0.1", port, timeout=60)
    idle.request("GET", "/")
    assert idle.getresponse().read() == b"red"
    parts = up.parts()
    assert up.end(signal.SIGTERM) == 0
    assert not any(is_alive(pid) for pid in parts.values())
    assert get(port) == (200, "red")
    up.start()
    assert state_of(up) == before
    up.end(signal.SIGKILL)
    assert get(port) == (200, "red")
    # Nobody but the keeper is there to start it again, with what was switched since its start.
    os.kill(before.haproxy, signal.SIGKILL)
    until(lambda: state_of(up).haproxy not in (0, before.haproxy), "another one runs")
    until(lambda: has_answer(port), "it serves")
    up.start()
    again = state_of(up)
    assert (again.keeper, again.reloads) == (before.keeper, before.reloads)
    assert get(port) == (200, "red")
    idle.close()


def has_answer(port: int) -> bool:
    """Whether the app answers."""
    try:
        return get(port) == (200, "red")
    except (OSError, HTTPException):  # it may end in the middle of an answer
        return False


def test_a_killed_keeper_is_replaced_while_keystone_is_up(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    os.kill(before.keeper, signal.SIGKILL)
    until(lambda: state_of(up).keeper != before.keeper, "there is another one")
    assert state_of(up).haproxy == before.haproxy
    assert get(port) == (200, "red")
    assert "started the router's keeper: there was none" in up.output.read_text()


def test_changed_settings_are_loaded_by_a_reload(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    up.end(signal.SIGTERM)
    (more,) = free_ports(1)
    first, _, last = up.environ["KEYSTONE_PORT_RANGE"].partition("-")
    up.environ["KEYSTONE_PORT_RANGE"] = f"{first}-{max(int(last), more)}"
    if more < int(first):
        up.environ["KEYSTONE_PORT_RANGE"] = f"{more}-{last}"
    up.start()
    # The web process does not wait for the reload.
    until(lambda: state_of(up).reloads == before.reloads + 1, "the router was reloaded")
    assert state_of(up).haproxy == before.haproxy
    assert get(more)[0] == 503
    assert get(port) == (200, "red")


def test_a_setting_that_only_a_reload_applies_is_applied(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    changed = command(up, "app", "set", "web", "--gzip")
    assert changed.returncode == 0, changed.stderr
    until(lambda: state_of(up).reloads == before.reloads + 1, "the router was reloaded")
    assert "compression algo gzip" in (up.settings.router_dir / "haproxy.cfg").read_text()
    assert get(port) == (200, "red")
    assert not (up.settings.router_dir / RELOAD_WANTED).exists()


def test_a_port_that_was_taken_while_haproxy_was_down_is_left_out(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    last = int(up.environ["KEYSTONE_PORT_RANGE"].rpartition("-")[2])
    os.kill(before.keeper, signal.SIGSTOP)
    os.kill(before.haproxy, signal.SIGKILL)
    # Its worker ends by itself, and closes its ports one after another.
    until(lambda: bind_error("127.0.0.1", last) is None, "it is down")
    with socket.create_server(("127.0.0.1", last)):
        os.kill(before.keeper, signal.SIGCONT)
        until(lambda: has_answer(port), "it serves the others")
    assert "cannot bind" in (up.settings.run_dir / "router.log").read_text()


def test_down_names_the_apps_and_stops_everything(up: Up, red: Upstream) -> None:
    port, pids = go_live(up, red), router_pids(up.settings.run_dir)
    assert len(pids) == 3
    told = command(up, "doctor").stdout
    assert f"process {pids[1]} since 20" in told
    asked = command(up, "down")
    assert asked.returncode == 2
    assert f"  web  http://127.0.0.1:{port}\n" in asked.stdout
    assert "say --yes" in asked.stderr
    assert up.is_well()
    kept = command(up, "down", "--keep-router")
    assert kept.returncode == 0, kept.stderr
    assert up.process is not None
    assert up.process.wait(STOPS_WITHIN_S) == 0
    assert get(port) == (200, "red")
    assert "HAProxy" in command(up, "doctor").stdout
    down = command(up, "down", "--yes")
    assert (down.returncode, down.stderr) == (0, "")
    assert "The router is stopped." in down.stdout
    assert not any(map(is_alive, pids))
    assert command(up, "down").stdout == "Keystone is down already.\n"


def test_the_router_is_reloaded_by_hand(up: Up, red: Upstream) -> None:
    port, before = go_live(up, red), state_of(up)
    done = command(up, "router", "--reload")
    assert (done.returncode, done.stdout) == (0, f"HAProxy {before.haproxy} was reloaded.\n")
    assert state_of(up).reloads == before.reloads + 1
    assert get(port) == (200, "red")


def test_the_router_can_be_run_in_the_foreground_without_keystone(tmp_path: Path) -> None:
    up = Up(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "jobs.cli", "router", "--owner", str(os.getpid())],
        cwd=up.folder,
        env=up.environ,
        stdin=subprocess.DEVNULL,
    )
    try:
        port = int(up.environ["KEYSTONE_PORT_RANGE"].partition("-")[0])
        until(lambda: answers(port) and router_state(up.settings.run_dir), "it serves")
        assert state_of(up).keeper == process.pid
        pids = router_pids(up.settings.run_dir)
        process.send_signal(signal.SIGINT)
        assert process.wait(STOPS_WITHIN_S) == 0
        assert not any(map(is_alive, pids))
    finally:
        process.kill()
        process.wait()
        stop_router(up.settings)
        shutil.rmtree(up.settings.socket_dir)


def answers(port: int) -> bool:
    """Whether the router answers on a port without an app."""
    try:
        return get(port)[0] == 503
    except OSError:
        return False
