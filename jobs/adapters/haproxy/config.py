"""Generates the router's configuration from values. Pure: it reads, writes and starts nothing.

One HAProxy listens on every port that an app may be given. Each port has a predeclared backend with
two servers: the slots `a` and `b`. A deployment fills the slot that is not live and swaps the slots
through the router's runtime API, so a new app or a new release never needs a reload. The
configuration file contains the live slots: a router that crashed serves again as soon as it has
restarted, without any other process. The paths of other files are relative to this file's folder,
so that runtime commands can name them whatever the folder is called.

**Connections to apps.** An app may close an idle connection at any time, also at the moment when a
request is being sent over it. Requests that may be repeated (GET, HEAD, OPTIONS, PUT and DELETE,
without a body) go over connections that are kept open, and HAProxy repeats one that got no answer.
All others get a new connection, which is closed after the answer: no idle one is used for them, so
none is lost, and none is sent twice. To HAProxy a new connection is one with a name that no other
has: the name is a random UUID for these requests, and empty for all others.

A request with a body never shares a connection. So what an app takes for the next request in such a
body, because it reads it differently than HAProxy, cannot reach another visitor.

Idle connections are closed within about a second. Some servers give each connection a thread of its
own, and must not run out of them. Draining a slot does not wait for idle connections, a slot that
is drained gets no request over them, and detaching it closes them.

Measured with 32 visitors: 7,000 to 9,000 requests/s when each request has a new connection, about
three times as many now.

Source: HAProxy 2.6 Configuration Manual, "http-reuse", "retry-on" and "sni"; HAProxy 3.0 calls the
name `pool-conn-name` (read 2026-11-30).
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.haproxy import assets, compression, moved, own_address, requests, shares
from jobs.adapters.haproxy.frontends import DomainDoors, Policy, frontends
from jobs.adapters.haproxy.syntax import (
    NOWHERE,
    TO_CONTAINERS,
    error_page,
    quoted,
    socket_address,
    split_address,
)
from jobs.errors import ConfigurationError, Mistake, RouterError
from jobs.rules.container_values import Route
from jobs.rules.ip_addresses import join_address

SLOTS = ("a", "b")
PORT_BACKENDS = "port_"
# `show info` reports this description, so a router with an outdated configuration is recognised.
# Increment the number when older configurations lack something essential.
DESCRIPTION = "keystone-router-3"
_DESCRIPTION = re.compile(r"^ +description (.+)$", re.MULTILINE)

# Half of the connections that were not needed during this time are closed after it.
IDLE_MS = 100

# With one thread, HAProxy executes a line of commands atomically: no request runs in between.
# `noreuseport` makes it an error if another program listens on a port, instead of sharing the port.
_GLOBAL = """\
global
    default-path config
    description {description}
{confinement}    stats socket {socket} mode 600 {owner}level admin expose-fd listeners
    hard-stop-after 24h
    mworker-max-reloads 20
    nbthread 1
    noreuseport
    maxconn {places}
    no strict-limits
    maxcompcpuusage {compressing}
    tune.bufsize 32768
"""

# For a router that root starts: once it listens, it sees an empty folder and has no privileges.
_CONFINEMENT = """\
    chroot {folder}
    user {user}
    group {user}
"""

# A client that disconnects ends its request (`abortonclose`), so that draining a slot does not wait
# for answers that no client reads. HTTP/2 is accepted over TLS only, which counts its requests.
_VISITORS = """\
defaults visitors
    mode http
    timeout client 60s
    timeout http-keep-alive 60s
    timeout http-request 10s
    timeout client-fin 30s
    option abortonclose
    option disable-h2-upgrade
    option idle-close-on-response
{errors}
"""

# A failed connection attempt is retried on any ready slot: the app cannot have processed the
# request yet. Three retries, one second apart, also bridge the restart of a crashed container. A
# request that got no answer is retried if it may be repeated.
# A worker that a reload has replaced finds no server usable (`nbsrv`), but uses them.
# Trailers bypass the rules for headers, and some servers (uvicorn with httptools) treat them as
# headers; HAProxy can drop them since 3.2.
_BACKENDS = """\
defaults slots
    mode http
{to_containers}\
    http-reuse always
    default-server pool-max-conn 64 pool-purge-delay {idle_ms}ms
.if version_atleast(3.0)
    default-server pool-conn-name var(txn.once)
.else
    default-server sni var(txn.once)
.endif
    option redispatch 1
.if version_atleast(3.2)
    option http-drop-request-trailers
.endif
    retries 3
    retry-on conn-failure empty-response
    http-request return status 503 content-type text/plain hdr Cache-Control no-store \
string "No release of this app is live yet.\\n" if {{ nbsrv eq 0 }} !{{ stopping }}
{rules}
    acl usual var(txn.usual) -m found
    acl repeatable method GET HEAD OPTIONS PUT DELETE
{bodies}\
    http-request allow if usual
    http-request set-var(txn.once) uuid() unless repeatable is_whole !has_body !upgrades
    acl once var(txn.once) -m found
    http-request disable-l7-retry if once
    http-request set-header Connection close if once !upgrades
"""

_ERRORS = {
    400: "The request could not be understood.",
    408: "The request took too long to arrive.",
    500: "The router could not handle the request.",
    502: "The app did not give a proper answer.",
    503: "The app does not answer.",
    504: "The app took too long to answer.",
}

UNFILLED = join_address(*NOWHERE)  # the address of a slot that was never filled; it is disabled


@dataclass(frozen=True)
class Confinement:
    """How a router started by root drops its privileges after it has read and bound everything.

    Attributes:
        folder: the empty folder that it is confined to (chroot).
        user: the user that it becomes; the group has the same name.
        admin: the user that may use the runtime API.
    """

    folder: Path
    user: str
    admin: str


def configuration(  # noqa: PLR0913 - each is a part of the file
    *,
    bind: str,
    ports: Iterable[int],
    routes: Iterable[Route],
    socket: Path,
    doors: DomainDoors,
    policy: Policy,
    confinement: Confinement | None = None,
    compressed: Collection[int] = (),
) -> str:
    """Give the text of the configuration file.

    Args:
        bind: the address of the apps' ports.
        ports: every port to listen on, without ports that other programs use.
        routes: the live routes. A route whose port is not in `ports` is left out.
        socket: the path of the runtime API's socket, for this user only.
        doors: where domains are served.
        policy: the limits and rules for visitors.
        confinement: None: the router keeps the user that starts it.
        compressed: the ports of the apps whose text the router compresses.

    Raises:
        ConfigurationError: an address is invalid, there is no port, or HAProxy's syntax cannot
            express the socket's path.
        RouterError: a route's slot or address is invalid.
    """
    wanted = sorted(set(ports))
    if not wanted:
        told = "other programs have taken all of its ports"
        raise ConfigurationError(Mistake("KEYSTONE_PORT_RANGE", told))
    live = {route.port: route for route in routes}
    errors = "\n".join(error_page(status, text) for status, text in _ERRORS.items())
    rules = policy.acls + shares.app_rules(policy.shares, doors.ways)
    sections = (
        # Before every `defaults` section, so that none of them applies to the tables.
        shares.tables(policy.shares),
        requests.tables(),
        _VISITORS.format(errors=errors),
        frontends(bind, wanted, doors, policy),
        assets.sections(socket),
        own_address.backend(policy.address, policy.shares, doors.ways, policy.acls),
        _BACKENDS.format(
            idle_ms=IDLE_MS, rules=rules, bodies=requests.BODY_ACLS, to_containers=TO_CONTAINERS
        ),
        moved.backend(),
    )
    backends = [_backend(0, None, port in compressed) for port in wanted]
    content = (_global("", socket, policy, confinement), *sections, *backends, *wanted)
    description = f"{DESCRIPTION} {hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"
    return "\n".join(
        (
            _global(description, socket, policy, confinement),
            *sections,
            *(_backend(port, live.get(port), port in compressed) for port in wanted),
        )
    )


def description_of(text: str) -> str:
    """Give the description in a configuration's text: its generation, and a digest of its content.

    The digest covers everything but the routes, which change while the router runs.
    """
    found = _DESCRIPTION.search(text)
    return found[1] if found else ""


def command(program: str, file: Path) -> list[str]:
    """Give the command that runs the router alone in the foreground, without a keeper."""
    return [program, "-db", "-f", str(file)]


def _global(description: str, socket: Path, policy: Policy, confinement: Confinement | None) -> str:
    limits, owner = "", ""
    if confinement is not None:
        folder, user, admin = quoted(confinement.folder), confinement.user, confinement.admin
        limits = _CONFINEMENT.format(folder=folder, user=user)
        owner = f"user {admin} group {admin} "
    return _GLOBAL.format(
        description=description,
        confinement=limits,
        socket=socket_address(socket),
        owner=owner,
        places=policy.places,
        compressing=100 - compression.IDLE_PERCENT,
    )


def backend_name(port: int) -> str:
    """Give the name of a port's backend."""
    return f"{PORT_BACKENDS}{port}"


def ensure_slot(slot: str) -> None:
    """Raise unless this is the name of a slot.

    Raises:
        RouterError: it is not a slot's name.
    """
    if slot not in SLOTS:
        raise RouterError(f"{slot!r} is not a slot; there are {' and '.join(SLOTS)}")


def _backend(port: int, route: Route | None, is_compressed: bool) -> str:  # noqa: FBT001
    if route is not None:
        ensure_slot(route.slot)
    lines = [f"backend {backend_name(port)} from slots", assets.BACKEND_RULE]
    for slot in SLOTS:
        if route is not None and slot == route.slot:
            lines.append(f"    server {slot} {join_address(*split_address(route.address))}")
        else:
            lines.append(f"    server {slot} {UNFILLED} disabled")
    return "\n".join(lines) + "\n" + (compression.rules() if is_compressed else "")
