"""Keystone's own address: the router passes the host of `KEYSTONE_PUBLIC_URL` to the web process.

**Proof.** The web process takes a visitor's address and scheme from the forwarding headers only if
a request holds the router's key. Every program on this machine can connect to the web process, but
only Keystone's own users can read the key. The router sets the header anew in each request, so no
visitor can send it. The router connects from a source address of its own, which proves nothing: it
only exempts the router's connections from the web process's limit of idle ones.

**Waiting.** While the web process restarts, nothing listens on its port, so an attempt to connect
fails at once. HAProxy then pauses, for as long as `timeout connect` but at most a second, and tries
again: 36 pauses of 250 ms are 9 s in all, and GitHub gives up after 10 s. A connection to a process
that is stopping may be lost after the request was sent. The request is repeated then if that is
harmless: a GET or HEAD request, or a delivery, which its GUID makes idempotent. Each request gets a
new connection, since the web process closes idle connections when it stops. HAProxy can repeat only
a request that fits into one buffer (31 KiB) and has arrived completely, so deliveries are collected
first. Larger deliveries still wait for a connection.

**Holding.** `HAProxyRouter.hold` points the server `web` to an address where nothing listens, so
that requests wait in the same way. `redispatch` makes each attempt look up the address again. The
server `configured` never gets a request; it holds the address for `HAProxyRouter.release`.

Source: HAProxy 2.6 Configuration Manual, "retry-on", "http-request disable-l7-retry" and
"http-request wait-for-body" (read 2026-11-30).
"""

import re
from dataclasses import dataclass

from pydantic import SecretStr

from jobs.adapters.haproxy.shares import Shares, app_rules
from jobs.adapters.haproxy.syntax import error_page, split_address
from jobs.errors import RouterError
from jobs.rules.ip_addresses import join_address
from jobs.rules.naming import ROUTER_HEADER, ROUTER_SOURCE, WEBHOOK_PATH

BACKEND, WEB, CONFIGURED = "keystone", "web", "configured"
ACL = "for_keystone"
RETRY_AFTER_S = 5
PAUSE_MS, RETRIES = 250, 36

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_KEY = re.compile(r"[A-Za-z0-9_-]{32,}")
_ERRORS = {
    502: "Keystone was interrupted while it handled this request; look at what has become of it.",
    503: "Keystone is not running, or is being restarted; try again in a moment.",
    504: "Keystone took too long to answer; look at what has become of the request.",
}

# The web process sends its longest answers, event streams, in pieces at most 10 s apart.
_BACKEND = """\
defaults own_address
    mode http
    timeout connect {pause_ms}ms
    timeout server 2m
    timeout server-fin 30s
    option http-server-close
    option abortonclose
    option redispatch 1
    http-reuse never
    retries {retries}
    retry-on conn-failure empty-response
.if version_atleast(3.2)
    option http-drop-request-trailers
.endif
{errors}
backend {name} from own_address
{rules}\
    acl is_delivery path {webhook} {webhook}/
    http-request set-header {header} {key}
    http-request wait-for-body time 8s if METH_POST is_delivery
    http-request disable-l7-retry unless METH_GET || METH_POST is_delivery
    server {web} {address}{source}
    server {configured} {address} disabled
"""


@dataclass(frozen=True)
class OwnAddress:
    """Where visitors find Keystone, and where the router finds the web process.

    Attributes:
        host: the host name, or the IP address, as the Host header has it.
        web: the IP address and the port of the web process.
        key: the router's key, which the web process knows.
        is_https: whether the public URL begins with https. Visitors are redirected only then: a
            webhook of a http URL must not be, because GitHub follows no redirect.
    """

    host: str
    web: str
    key: SecretStr
    is_https: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.host):
            raise RouterError(f"{self.host!r} is not a host the router can serve")
        if not _KEY.fullmatch(self.key.get_secret_value()):
            raise RouterError("the router's key must be 32 or more letters and digits")
        split_address(self.web)


def acl(own: OwnAddress | None) -> str:
    """Give the ACL that recognises requests for Keystone; it uses `txn.asked`."""
    if own is None:
        return f"    acl {ACL} always_false\n"
    return f"    acl {ACL} var(txn.asked),host_only -m str {own.host}\n"


def leads(own: OwnAddress | None) -> str:
    """Give the rule that passes requests for Keystone to its backend."""
    return "" if own is None else f"    use_backend {BACKEND} if {ACL}\n"


def backend(own: OwnAddress | None, shares: Shares, ways: list[str], acls: str) -> str:
    """Give the backend.

    Args:
        own: None: the router does not serve Keystone's own address.
        shares: the limits, of which Keystone has as much as one app.
        ways: the names of all frontends.
        acls: the ACLs `trusted` and `own`.
    """
    if own is None:
        return ""
    host, port = split_address(own.web)
    return _BACKEND.format(
        pause_ms=PAUSE_MS,
        retries=RETRIES,
        errors="\n".join(_error(status, text) for status, text in _ERRORS.items()),
        name=BACKEND,
        rules=acls + app_rules(shares, ways),
        webhook=WEBHOOK_PATH,
        header=ROUTER_HEADER,
        key=own.key.get_secret_value(),
        web=WEB,
        configured=CONFIGURED,
        address=join_address(host, port),
        source="" if ":" in host else f" source {ROUTER_SOURCE}",
    )


def _error(status: int, text: str) -> str:
    retry = f"hdr Retry-After {RETRY_AFTER_S} " if status == 503 else ""  # noqa: PLR2004
    return error_page(status, text, retry)
