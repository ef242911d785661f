"""The TCP sockets that listen inside a container, and what is wrong with them. Pure.

Source: proc_net_tcp(5) (read 2026-12-01). The kernel writes an address as numbers of 32 bits in its
own byte order, and lists the listening sockets before all others.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

LISTENING = b"0A"
WORD = 8  # hexadecimal digits of 32 bits
# Docker's own name server, which listens in the namespace of every container.
DOCKERS_DNS = ip_address("127.0.0.11")
MOST_TOLD = 5


@dataclass(frozen=True)
class Listener:
    """An address and port that a program listens on."""

    address: IPv4Address | IPv6Address
    port: int

    @property
    def is_reachable(self) -> bool:
        """Whether it is not only for programs in the same container."""
        mapped = self.address.ipv4_mapped if isinstance(self.address, IPv6Address) else None
        return not (mapped or self.address).is_loopback

    def __str__(self) -> str:
        """Format as in a URL: 127.0.0.1:3000, [::1]:3000."""
        shown = f"[{self.address}]" if self.address.version == 6 else self.address  # noqa: PLR2004
        return f"{shown}:{self.port}"


def parse_listeners(table: bytes) -> Iterator[Listener]:
    """Read the listening sockets of a /proc/…/net/tcp or tcp6; its last line may be cut."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4 or fields[3] != LISTENING:  # noqa: PLR2004 — the columns up to `st`
            return
        address, _, port = fields[1].decode().partition(":")
        found = ip_address(_bytes_of(address))
        if found != DOCKERS_DNS:
            yield Listener(found, int(port, 16))


def _bytes_of(digits: str) -> bytes:
    words = (digits[place : place + WORD] for place in range(0, len(digits), WORD))
    return b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)


def port_words(
    app: str, port: int, listeners: Collection[Listener], exposed: Collection[int] = ()
) -> str:
    """Say why nobody answers at a container's port, and what mends it.

    Args:
        listeners: the sockets in its network namespace.
        exposed: the ports that its image EXPOSEs: they are the likeliest.

    Returns:
        Empty when something listens there as it should.
    """
    here = [each for each in listeners if each.port == port]
    if here:
        return _here_words(here)
    found = {each.port for each in listeners if each.is_reachable}
    ports = sorted(found, key=lambda each: (each not in exposed, each))
    if ports:
        return f"it listens on {_listed(ports)}: {port_command(app, ports)}"
    if listeners:
        return _inner_words(min(listeners, key=lambda each: each.port), port)
    return "nothing listens in the container"


def _here_words(here: Sequence[Listener]) -> str:
    reachable = [each for each in here if each.is_reachable]
    if not reachable:
        return _inner_words(here[0], here[0].port)
    if any(each.address.version == 4 for each in reachable):  # noqa: PLR2004
        return ""
    # A socket for both would have taken the connection: this one is not, and the kernel's table
    # does not say so.
    first = reachable[0]
    return f"it listens by IPv6 only ({first}): let it listen on 0.0.0.0:{first.port} as well"


def _inner_words(listener: Listener, port: int) -> str:
    return f"it listens on {listener} only, inside its container: let it listen on 0.0.0.0:{port}"


def exposed_words(app: str, port: int, exposed: Sequence[int]) -> str:
    """Say that an image EXPOSEs other ports than the one that is asked; else nothing."""
    if not exposed or port in exposed:
        return ""
    return f"its image EXPOSEs {_listed(exposed)}: {port_command(app, exposed)}"


def port_command(app: str, ports: Sequence[int]) -> str:
    """Give the command that sets the first of these ports."""
    return f"`keystone app set {app} --container-port {ports[0]}`"


def _listed(ports: Sequence[int]) -> str:
    told = ", ".join(map(str, ports[:MOST_TOLD])) + (", …" if len(ports) > MOST_TOLD else "")
    return f"port {told}" if len(ports) == 1 else f"the ports {told}"
