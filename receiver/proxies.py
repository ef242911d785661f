"""Finds the client behind trusted proxies: those that the settings name, and Keystone's own router.

Any client can send X-Forwarded-For. Proxies append to it on the right, so it is read from the right
end, and the first address that is not a trusted proxy's is the client. The router is recognised by
its key, the other proxies by their addresses.
"""

import ipaddress
import logging
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.own_router import OwnRouter, without_key

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST_HOPS = 20
# Bits. Providers give each customer such a network, so all its addresses count as one client.
IPV6_PREFIX = 64
SCHEMES = frozenset({"http", "https"})


class Proxies:
    """Puts the client's own address and scheme into the scope, for all later middleware.

    It sets `scope["state"]["is_proxied"]` if a trusted proxy sent the request.
    """

    def __init__(
        self, app: ASGIApp, *, trusted: Sequence[Network], router: OwnRouter | None = None
    ) -> None:
        self.app = app
        self.trusted = trusted
        self.router = router or OwnRouter()
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the address and scheme that the outermost trusted proxy saw."""
        if scope["type"] == "http":
            self._look_behind(scope)
        await self.app(scope, receive, send)

    def _look_behind(self, scope: Scope) -> None:
        is_by_router = self.router.has_sent(scope["headers"])
        scope["headers"] = without_key(scope["headers"])
        headers = Headers(scope=scope)
        peer = read_address((scope.get("client") or ("", 0))[0])
        if peer is None or not (is_by_router or is_among(peer, self.trusted)):
            self._warn(headers, peer)
            return
        scope.setdefault("state", {})["is_proxied"] = True
        chain = ",".join(headers.getlist("x-forwarded-for"))
        scope["client"] = (str(client_behind(peer, chain, self.trusted)), 0)
        # The last of several values comes from the proxy that is connected to us.
        scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip().lower()
        if scheme in SCHEMES:
            scope["scheme"] = scheme

    def _warn(self, headers: Headers, peer: Address | None) -> None:
        if self._has_warned or "x-forwarded-for" not in headers:
            return
        self._has_warned = True
        logger.warning(
            "X-Forwarded-For from %s is not believed; if a proxy of yours is there, name it in "
            "KEYSTONE_TRUSTED_PROXIES",
            peer,
            extra={"action": "proxy_not_trusted"},
        )


def client_behind(peer: Address, chain: str, trusted: Sequence[Network]) -> Address:
    """Give the nearest address in a chain of proxies that is not a trusted proxy's.

    Args:
        peer: the address connected to us; a trusted proxy or the router.
        chain: the value of X-Forwarded-For. An unreadable entry ends the search.
    """
    nearest = peer
    for text in reversed(chain.split(",")[-MOST_HOPS:]):
        hop = read_address(text)
        if hop is None:
            break
        nearest = hop
        if not is_among(hop, trusted):
            break
    return nearest


def read_address(text: str) -> Address | None:
    """Parse an address, with or without a port; an IPv4-mapped IPv6 address becomes IPv4."""
    plain = text.strip()
    if plain.startswith("["):
        plain = plain[1:].partition("]")[0]
    elif plain.count(":") == 1:
        plain = plain.partition(":")[0]
    try:
        # Drop the zone: it may be any text, and means nothing on another machine.
        address = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_among(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address belongs to one of the networks."""
    return any(address in network for network in networks)


def neighbourhood(address: str) -> str:
    """Give the unit that counts as one client: an IPv4 address, or a whole IPv6 /64 network."""
    found = read_address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), IPV6_PREFIX), strict=False))
    return str(found or address)
