"""Connects by IPv6 in a network namespace: prints how many connections each visitor may hold.

`unshare --net python -m tests.contract.router.by_ipv6 FOLDER`
"""

import json
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from jobs.adapters.haproxy.frontends import Policy
from jobs.adapters.haproxy.shares import FEWEST_PLACES, Shares
from tests.contract.router.visits import wait_for
from tests.haproxy import running_router

SOURCE = Shares(FEWEST_PLACES).source
VISITORS = {
    "one address": ("2001:db8:0:1::1", SOURCE + 10),
    "another of its 64 bits": ("2001:db8:0:1:ffff::2", 5),
    "another network": ("2001:db8:0:2::1", 5),
    "an address of IPv4": ("127.0.0.1", 5),
    "another one": ("127.0.0.2", 5),
}


def main(folder: Path) -> None:
    """Connect as each visitor, one after the other."""
    for words in ("link set lo up", *(f"address add {address} dev lo" for address in _ipv6())):
        subprocess.run(["ip", *words.split()], check=True, timeout=60)
    policy = Policy(FEWEST_PLACES)
    with running_router(folder, bind="::", policy=policy) as running, ExitStack() as stack:
        held = {
            name: _come(stack, source, running.ports[0], count)
            for name, (source, count) in VISITORS.items()
        }
        wait_for(lambda: sum(map(_is_open, held["one address"])) == SOURCE)
        stay = {name: sum(map(_is_open, found)) for name, found in held.items()}
        sys.stdout.write(json.dumps(stay))


def _ipv6() -> list[str]:
    return [f"{source}/128 nodad" for source, _ in VISITORS.values() if ":" in source]


def _come(stack: ExitStack, source: str, port: int, count: int) -> list[socket.socket]:
    """Connect that many times, and wait until each connection was accepted or refused."""
    target = ("::1" if ":" in source else "127.0.0.1", port)
    found = []
    for _ in range(count):
        with suppress(OSError):
            connection = socket.create_connection(target, 60, (source, 0))
            found.append(stack.enter_context(connection))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n")
            connection.recv(1, socket.MSG_PEEK)
    return found


def _is_open(connection: socket.socket) -> bool:
    with suppress(OSError):
        return connection.recv(1, socket.MSG_PEEK) != b""
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
