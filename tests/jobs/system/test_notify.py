"""What systemd is told over its socket."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.system.notify import SOCKET, Notifier


@pytest.fixture(params=["in a folder", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd listens on."""
    path = str(tmp_path / "notify") if request.param == "in a folder" else ""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(path or f"\0keystone-{secrets.token_hex(8)}")
        listener.settimeout(60)
        yield listener


def notifier(listener: socket.socket) -> Notifier:
    name = listener.getsockname()
    address = f"@{name[1:].decode()}" if isinstance(name, bytes) else name
    return Notifier.from_environment({SOCKET: address})


def heard(listener: socket.socket) -> list[str]:
    return listener.recv(4096).decode().splitlines()


def is_silent(listener: socket.socket) -> bool:
    listener.settimeout(0)
    try:
        listener.recv(4096)
    except BlockingIOError:
        return True
    return False


def test_readiness_is_told_once_and_again_after_a_reload(listener: socket.socket) -> None:
    ours = notifier(listener)
    ours.ready()
    ours.ready()
    ours.reloading()
    ours.ready()
    ours.stopping()
    assert heard(listener) == ["READY=1"]
    first, second = heard(listener)
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert heard(listener) == ["READY=1"]
    assert heard(listener) == ["STOPPING=1"]
    assert is_silent(listener)


def test_a_status_is_one_line_and_told_when_it_changes(listener: socket.socket) -> None:
    ours = notifier(listener)
    for sentence in ("all\nruns", "all runs", "web is missing"):
        ours.status(sentence)
    assert heard(listener) == ["STATUS=all runs"]
    assert heard(listener) == ["STATUS=web is missing"]
    assert is_silent(listener)


@pytest.mark.parametrize("address", ["", "nonsense", "vsock:2:1234", "/nowhere/notify"])
def test_without_a_listener_nothing_happens(address: str) -> None:
    ours = Notifier(address)
    ours.ready()
    ours.status("all runs")
    ours.stopping()


def test_a_listener_that_does_not_read_is_not_waited_for(listener: socket.socket) -> None:
    ours = notifier(listener)
    for number in range(10_000):
        ours.status(str(number))
