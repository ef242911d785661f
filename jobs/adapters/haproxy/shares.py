"""How many connections each visitor and each app may hold, in the router's configuration. Pure.

Without shares the slowest visitors have everything: a few thousand half-sent requests to one app
silence all the others. Each bound is a part of the whole, and most of them are smaller while the
router is busy, which is when visitors hold more than half of what they may: one address or one app
may have much as long as nobody else needs it.

| who | may hold | while the router is busy |
|---|---|---|
| all visitors together | three quarters of all places | the same |
| one way in (the apps' ports, HTTP, HTTPS) | three quarters of that | the same |
| one app: connections to its port, requests under way | a half | an eighth |
| one source: connections, requests by HTTP/2 | an eighth | a 32nd |

A source is an IPv4 address, or an IPv6 network of 64 bits: one visitor may have all of those.
Trusted proxies speak for many visitors and are no source. The last quarter of the places is kept
for Keystone's own check of a new release, which always gets in, and for the connections to apps of
HTTP/2, which brings many requests on one connection.

HAProxy 2.6 keeps three counters for a connection and its requests together: `sc0` counts the
connections of the source, `sc1` those of the app's port or the HTTP/2 requests of the source, and
`sc2` all HTTP/2 requests.

Measured on HAProxy 2.6 beside the configuration without any of this and without the rules for
requests: 2 % more CPU a request on kept connections, 5 % on new ones or with a browser's headers,
1 MB more memory at start. 3,500 half-sent requests take 20 MB, 5,300 idle visitors 7 MB.

Source: HAProxy 2.6 Configuration Manual, "stick-table" and "tcp-request connection" (read
2026-11-30).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.adapters.haproxy.syntax import refuse

# 10,000 visitors fit by one way in, behind 21 addresses or more.
MOST_PLACES, FEWEST_PLACES = 20_480, 512
# Two buffers of `tune.bufsize` and what TLS keeps, of a visitor who is just being served.
BYTES_A_PLACE = 96 * 1024
MEMORY_SHARE = 4  # at worst a quarter of the machine's memory
FILES_A_PLACE = 2  # the visitor's connection, and the one to the app
OTHER_FILES = 128  # the program itself, the runtime API, and room

# Programs use 127.0.0.1; from this address only Keystone's health check comes.
OWN_SOURCE = "127.83.75.1"

SOURCES, PORTS = "connections_by_source", "connections_by_port"
STREAMS, ALL_STREAMS = "requests_by_source", "requests_in_all"
_TABLES = {SOURCES: "ipv6", PORTS: "integer", STREAMS: "ipv6", ALL_STREAMS: "integer"}
# On an IPv6 socket all of IPv4 would be one network of 64 bits.
_IPV4_MAPPED = "{ src ::ffff:0:0/96 }"
_IPV4, _IPV6 = "src,ipmask(32,128)", "src,ipmask(32,64)"


def most_places(*, files: int, ports: int, memory: int) -> int:
    """Give how many connections a router on this machine may hold.

    Args:
        files: how many file descriptors it may open.
        ports: how many ports it listens on; each takes a descriptor.
        memory: bytes that the machine has.
    """
    by_files = (files - ports - OTHER_FILES) // FILES_A_PLACE
    by_memory = memory // MEMORY_SHARE // BYTES_A_PLACE
    return max(FEWEST_PLACES, min(MOST_PLACES, by_files, by_memory))


@dataclass(frozen=True)
class Shares:
    """The bounds that follow from the number of places."""

    places: int

    @property
    def visitors(self) -> int:
        """What all visitors together may hold."""
        return self.places * 3 // 4

    @property
    def busy(self) -> int:
        """Past this many the smaller bounds hold."""
        return self.visitors // 2

    @property
    def way_in(self) -> int:
        """What one frontend may hold."""
        return self.visitors * 3 // 4

    @property
    def app(self) -> int:
        """What one app may hold."""
        return self.visitors // 2

    @property
    def app_when_busy(self) -> int:
        """What one app may hold while the router is busy."""
        return self.visitors // 8

    @property
    def source(self) -> int:
        """What one source may hold."""
        return self.visitors // 8

    @property
    def source_when_busy(self) -> int:
        """What one source may hold while the router is busy."""
        return self.visitors // 32


def connection_rules(shares: Shares, ways: Sequence[str]) -> str:
    """Give the rules by which a frontend takes connections; they use the ACLs own and trusted.

    Args:
        ways: all frontends.
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
    """Give the rules that share connections out among the apps' ports, after the others."""
    reject = "    tcp-request connection reject if"
    return (
        f"    tcp-request connection track-sc1 dst_port table {PORTS}\n"
        f"{reject} {{ sc1_conn_cur gt {shares.app} }}\n"
        f"{reject} busy {{ sc1_conn_cur gt {shares.app_when_busy} }}\n"
    )


def stream_rules(shares: Shares) -> str:
    """Give the rules for requests by HTTP/2, where one connection carries a hundred at once."""
    return (
        "    acl by_http_2 req.ver -m str 2.0\n"
        f"    http-request track-sc1 {_IPV4} table {STREAMS} if by_http_2 {_IPV4_MAPPED}\n"
        f"    http-request track-sc1 {_IPV6} table {STREAMS} if by_http_2\n"
        f"    http-request track-sc2 int(1) table {ALL_STREAMS} if by_http_2\n"
        + _too_many(429, f"if by_http_2 !trusted {{ sc1_conn_cur gt {shares.source} }}")
        + _too_many(503, f"if by_http_2 {{ sc2_conn_cur gt {shares.busy} }}")
    )


def app_rules(shares: Shares, ways: Sequence[str]) -> str:
    """Give the rules that bound the requests under way to one app, whichever way they came in.

    They use the ACL own.
    """
    busy = "".join(f"    acl busy fe_conn({way}) gt {shares.busy}\n" for way in ways)
    return (
        busy
        + _too_many(503, f"if !own {{ be_conn gt {shares.app} }}")
        + _too_many(503, f"if !own busy {{ be_conn gt {shares.app_when_busy} }}")
    )


def tables(shares: Shares) -> str:
    """Give the tables that count. An entry is there while it counts, and for 10 s after."""
    return "\n".join(
        f"backend {name}\n    stick-table type {kind} size {shares.places} expire 10s "
        "store conn_cur\n"
        for name, kind in _TABLES.items()
    )


def _too_many(status: int, condition: str) -> str:
    sentence = "There are too many requests at once; try again."
    return refuse(status, sentence, condition, retry_after_s=1)
