"""The TCP ports that processes listen on, and those that a process could listen on."""

import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_BIND = re.compile(r"^    bind (\S+):(\d+)(?:-(\d+))?(?: |$)", re.MULTILINE)
LISTENING = "0A"  # TCP_LISTEN, in proc_net_tcp(5)


def ports_of(pids: Iterable[int]) -> frozenset[int]:
    """Give the TCP ports that these processes listen on, as far as we may know."""
    sockets = {inode for pid in pids for inode in _sockets(pid)}
    if not sockets:
        return frozenset()
    return frozenset(port for inode, port in _listening() if inode in sockets)


def port_spans(config: str) -> list[list[int]]:
    """Give the first and last port of each line of a HAProxy configuration that listens."""
    return [[int(first), int(last or first)] for _, first, last in _BIND.findall(config)]


def ports_within(spans: Iterable[Sequence[int]]) -> frozenset[int]:
    """Give all ports of these spans."""
    return frozenset(port for first, last in spans for port in range(first, last + 1))


def unbindable(config: Path, own: Collection[int]) -> str:
    """Say which port of a HAProxy configuration cannot be listened on; empty when all can.

    HAProxy 2.6 must not find this out at a reload: the attempt pauses the serving worker, and can
    end it.

    Args:
        config: the configuration.
        own: the ports that HAProxy has already.
    """
    for host, first, last in _BIND.findall(config.read_text(encoding="utf-8", errors="replace")):
        for port in range(int(first), int(last or first) + 1):
            if port not in own and (error := bind_error(host.strip("[]"), port)):
                return f"cannot bind {host}:{port}: {error.strerror or error}"
    return ""


def bind_error(host: str, port: int) -> OSError | None:
    """Give the error with which a program would fail to listen on a port now; None: it can.

    Args:
        host: an address of this machine, or a name for one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # So old connections in TIME_WAIT do not prevent listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        return exc
    return None


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 — a thousand of them
                if target.startswith("socket:["):
                    yield target.removeprefix("socket:[").removesuffix("]")


def _listening() -> Iterator[tuple[str, int]]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (
                Path(f"/proc/net/{name}")
                .read_text(encoding="utf-8", errors="replace")
                .splitlines()[1:]
            ):
                _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
                if state == LISTENING:
                    yield inode, int(local.rpartition(":")[2], 16)
