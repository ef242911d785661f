"""The router's connection limits for each visitor and each app. Pure.

Without limits the slowest visitors could take all connections: a few thousand half-sent requests to
one app would block all other apps. Each limit is a fraction of all places (connections). Most
limits are lower while the router is busy, that is, while all visitors together hold more than half
of their limit. So one address or one app may use many places while no other visitor needs them.

| who | limit | while the router is busy |
|---|---|---|
| all visitors together | three quarters of all places | the same |
| one frontend (the apps' ports, HTTP, HTTPS) | three quarters of that | the same |
| one app: connections to its port, requests under way | a half | an eighth |
| one app that opens another tunnel (WebSocket) | a quarter | an eighth |
| one source: connections, requests by HTTP/2 | an eighth | a 32nd |
| one source that opens another tunnel | a 32nd | a 32nd |

A source is an IPv4 address, or an IPv6 /64 network, since one visitor may own a whole /64. Trusted
proxies forward the requests of many visitors and do not count as sources. The last quarter of the
places is reserved for Keystone's own health check of a new release, which is always accepted, and
for connections to apps that serve HTTP/2 requests, of which one connection carries many.

HAProxy 2.6 has three counters for a connection and its requests together: `sc0` counts the source's
connections, `sc1` counts the connections to the app's port or the source's HTTP/2 requests, and
`sc2` counts all HTTP/2 requests.

Measured on HAProxy 2.6, compared with a configuration without these limits and without the request
rules: 2 % more CPU per request on kept-alive connections, 5 % on new connections or with the
headers of a browser, and 1 MB more memory at start. 3,500 half-sent requests take 20 MB, 5,300 idle
visitors take 7 MB.

Source: HAProxy 2.6 Configuration Manual, "stick-table" and "tcp-request connection" (read
2026-11-30).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.adapters.haproxy.syntax import refuse

# One frontend then serves 10,000 visitors, from 21 addresses or more.
MOST_PLACES, FEWEST_PLACES = 20_480, 512
# Two buffers of `tune.bufsize` and the TLS state, for a visitor that is being served.
BYTES_A_PLACE = 96 * 1024
MEMORY_SHARE = 4  # at worst a quarter of the machine's memory
FILES_A_PLACE = 2  # the visitor's connection, and the connection to the app
OTHER_FILES = 128  # for the program itself, the runtime API, and a reserve

# Programs use 127.0.0.1; only Keystone's health check uses this source address.
OWN_SOURCE = "127.83.75.1"

SOURCES, PORTS = "connections_by_source", "connections_by_port"
STREAMS, ALL_STREAMS = "requests_by_source", "requests_in_all"
_TABLES = {SOURCES: "ipv6", PORTS: "integer", STREAMS: "ipv6", ALL_STREAMS: "integer"}
# On an IPv6 socket, all IPv4 addresses together would be in one /64 network.
_IPV4_MAPPED = "{ src ::ffff:0:0/96 }"
_IPV4, _IPV6 = "src,ipmask(32,128)", "src,ipmask(32,64)"


def most_places(*, files: int, ports: int, memory: int) -> int:
    """Compute how many connections a router on this machine may hold.

    Args:
        files: the maximum number of its open file descriptors.
        ports: the number of ports that it listens on; each takes one descriptor.
        memory: the machine's memory in bytes.
    """
    by_files = (files - ports - OTHER_FILES) // FILES_A_PLACE
    by_memory = memory // MEMORY_SHARE // BYTES_A_PLACE
    return max(FEWEST_PLACES, min(MOST_PLACES, by_files, by_memory))


@dataclass(frozen=True)
class Shares:
    """The limits, computed from the number of places."""

    places: int

    @property
    def visitors(self) -> int:
        """The limit of all visitors together."""
        return self.places * 3 // 4

    @property
    def busy(self) -> int:
        """The number of held places above which the lower limits apply."""
        return self.visitors // 2

    @property
    def way_in(self) -> int:
        """The limit of one frontend."""
        return self.visitors * 3 // 4

    @property
    def app(self) -> int:
        """The limit of one app."""
        return self.visitors // 2

    @property
    def app_when_busy(self) -> int:
        """The limit of one app while the router is busy."""
        return self.visitors // 8

    @property
    def tunnels(self) -> int:
        """The limit of one app's requests and tunnels, above which it gets no new tunnel."""
        return self.visitors // 4

    @property
    def source(self) -> int:
        """The limit of one source."""
        return self.visitors // 8

    @property
    def source_when_busy(self) -> int:
        """The limit of one source while the router is busy."""
        return self.visitors // 32


def connection_rules(shares: Shares, ways: Sequence[str]) -> str:
    """Give a frontend's rules for accepting connections; they use the ACLs `own` and `trusted`.

    Args:
        ways: the names of all frontends.
    """
    reject = "    tcp-request connection reject if"
    return (
        "    tcp-request connection accept if own\n"
        f"    tcp-request connection track-sc0 {_IPV4} table {SOURCES} if {_IPV4_MAPPED}\n"
        f"    tcp-request connection track-sc0 {_IPV6} table {SOURCES}\n"
        f"{_count(ways)}"
        f"    acl busy var(sess.held) -m int gt {shares.busy}\n"
        f"{reject} {{ var(sess.held) -m int gt {shares.visitors} }}\n"
        f"{reject} {{ fe_conn gt {shares.way_in} }}\n"
        f"{reject} !trusted {{ sc0_conn_cur gt {shares.source} }}\n"
        f"{reject} !trusted busy {{ sc0_conn_cur gt {shares.source_when_busy} }}\n"
    )


def _count(ways: Sequence[str]) -> str:
    """Add up the connections of all frontends."""
    first, *others = ways
    lines = [f"set-var(sess.held) fe_conn({first})"]
    lines += [f"set-var(sess.held) fe_conn({way}),add(sess.held)" for way in others]
    return "".join(f"    tcp-request connection {line}\n" for line in lines)


def port_rules(shares: Shares) -> str:
    """Give the rules that limit the connections to each app's port; they follow the others."""
    reject = "    tcp-request connection reject if"
    return (
        f"    tcp-request connection track-sc1 dst_port table {PORTS}\n"
        f"{reject} {{ sc1_conn_cur gt {shares.app} }}\n"
        f"{reject} busy {{ sc1_conn_cur gt {shares.app_when_busy} }}\n"
    )


def stream_rules(shares: Shares) -> str:
    """Give the rules for HTTP/2, where one connection carries a hundred concurrent requests."""
    return (
        "    acl by_http_2 req.ver -m str 2.0\n"
        f"    http-request track-sc1 {_IPV4} table {STREAMS} if by_http_2 {_IPV4_MAPPED}\n"
        f"    http-request track-sc1 {_IPV6} table {STREAMS} if by_http_2\n"
        f"    http-request track-sc2 int(1) table {ALL_STREAMS} if by_http_2\n"
        + _too_many(429, f"if by_http_2 !trusted {{ sc1_conn_cur gt {shares.source} }}")
        + _too_many(503, f"if by_http_2 {{ sc2_conn_cur gt {shares.busy} }}")
    )


def app_rules(shares: Shares, ways: Sequence[str]) -> str:
    """Give the rules that limit one app's concurrent requests, over all frontends.

    A tunnel (WebSocket) may last for hours. So tunnels cannot use all of an app's share, and for a
    source that opens one the lower limit holds even while the router is not busy.

    They use the ACLs `own` and `trusted`, and define the ACL `upgrades`.
    """
    busy = "".join(f"    acl busy fe_conn({way}) gt {shares.busy}\n" for way in ways)
    return (
        busy
        + "    acl upgrades var(txn.websocket) -m found\n"
        + _too_many(503, f"if {{ be_conn gt {shares.app} }} !own")
        + _too_many(503, f"if {{ be_conn gt {shares.app_when_busy} }} busy !own")
        + _too_many(503, f"if upgrades {{ be_conn gt {shares.tunnels} }} !own")
        + _too_many(
            429, f"if upgrades !trusted {{ sc0_conn_cur gt {shares.source_when_busy} }} !own"
        )
    )


def tables(shares: Shares) -> str:
    """Give the counter tables. An entry exists while it is in use, and for 10 s afterwards."""
    return "\n".join(
        f"backend {name}\n    stick-table type {kind} size {shares.places} expire 10s "
        "store conn_cur\n"
        for name, kind in _TABLES.items()
    )


def _too_many(status: int, condition: str) -> str:
    sentence = "There are too many requests at once; try again."
    return refuse(status, sentence, condition, retry_after_s=1)
