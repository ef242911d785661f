"""The router's configuration, made from values. Pure: nothing is read, written or started here.

One HAProxy listens on every port an app may be given. Each port has a backend, declared beforehand,
with two servers: the slots `a` and `b`. A deployment fills the slot that is not live and has the
router swap them through its runtime API, so a new app or a new release never needs a reload. The
slots that are live already stand in the text: a router that crashed serves again the moment it is
back, without waiting for anybody. The paths of other files are relative to this one's folder, so
that commands can name them, whatever the folder is called.

The connections to the apps are closed after each answer. Kept alive they are three times as fast
(40,000 requests/s instead of 12,000), but an app closes the idle ones when it likes, and a POST
that is on its way at that moment is lost: up to 33 of 1,920 in a test, none this way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.haproxy import requests, shares
from jobs.adapters.haproxy.frontends import DomainDoors, Policy, frontends
from jobs.adapters.haproxy.syntax import join_address, quoted, socket_address, split_address
from jobs.errors import ConfigurationError, Mistake, RouterError
from jobs.rules.container_values import Route

SLOTS = ("a", "b")
# What `show info` tells of a router whose configuration this version has made; counted up when an
# older one lacks something that must not be missing.
DESCRIPTION = "keystone-router-2"

# One thread carries out a line of commands without any request in between; `noreuseport` makes a
# port that somebody else listens on an error, where it would be shared otherwise.
_GLOBAL = """\
global
    default-path config
    description {description}
{confinement}    stats socket {socket} mode 600 {owner}level admin
    nbthread 1
    noreuseport
    maxconn {places}
    no strict-limits
    tune.bufsize 32768
"""

# For a router that root starts: once it listens it can see nothing and is nobody.
_CONFINEMENT = """\
    chroot {folder}
    user {user}
    group {user}
"""

# A visitor who leaves (`abortonclose`) ends the request: nobody drains what nobody waits for.
# HTTP/2 comes by TLS only, where its requests are counted.
_VISITORS = """\
defaults visitors
    mode http
    timeout client 60s
    timeout http-keep-alive 60s
    timeout http-request 10s
    timeout client-fin 30s
    option http-server-close
    option abortonclose
    option disable-h2-upgrade
{errors}
"""

# Only a connection that could not be made is tried again, on whichever slot is ready then: what
# the request asked for cannot have happened yet. Three tries, a second apart, also carry a request
# over the restart of a crashed container. Trailers pass the rules for headers, and some servers
# (uvicorn with httptools) take them for headers; HAProxy can drop them since 3.2.
_BACKENDS = """\
defaults slots
    mode http
    timeout connect 5s
    timeout server 15m
    timeout tunnel 1h
    timeout server-fin 30s
    option http-server-close
    option abortonclose
    option redispatch 1
.if version_atleast(3.2)
    option http-drop-request-trailers
.endif
    retries 3
    retry-on conn-failure
    http-request return status 503 content-type text/plain hdr Cache-Control no-store \
string "No release of this app is live yet.\\n" if {{ nbsrv eq 0 }}
{rules}"""

_ERRORS = {
    400: "The request could not be understood.",
    408: "The request took too long to arrive.",
    500: "The router could not handle the request.",
    502: "The app did not give a proper answer.",
    503: "The app does not answer.",
    504: "The app took too long to answer.",
}

# Of a slot that was never filled; it is disabled, and nothing listens there in any case. Without
# an address HAProxy would dial the one the visitor dialled: itself.
_NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True)
class Confinement:
    """How a router that root starts gives up root's rights, once it has read and bound everything.

    Attributes:
        folder: an empty one, which is all that it sees then.
        user: whom it becomes; the group has the same name.
        admin: who may use the runtime API.
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
) -> str:
    """Give the text of the configuration file.

    Args:
        bind: the address the apps' ports are on.
        ports: every port to listen on; those of other programs must have been left out.
        routes: what is live. A route whose port is not among `ports` is left out.
        socket: where the runtime API will listen, for this user only.
        doors: where domains are served.
        policy: what visitors are held to.
        confinement: None: it stays the user that starts it.

    Raises:
        ConfigurationError: an address is none, there is no port, or the socket's path is one that
            HAProxy cannot be told.
        RouterError: a route's slot or address makes no sense.
    """
    wanted = sorted(set(ports))
    if not wanted:
        told = "other programs have taken all of its ports"
        raise ConfigurationError(Mistake("KEYSTONE_PORT_RANGE", told))
    live = {route.port: route for route in routes}
    errors = "\n".join(_error(status, text) for status, text in _ERRORS.items())
    rules = policy.acls + shares.app_rules(policy.shares, doors.ways)
    return "\n".join(
        (
            _global(socket, policy, confinement),
            # Before any defaults, since these take none.
            shares.tables(policy.shares),
            requests.tables(),
            _VISITORS.format(errors=errors),
            frontends(bind, wanted, doors, policy),
            _BACKENDS.format(rules=rules),
            *(_backend(port, live.get(port)) for port in wanted),
        )
    )


def command(program: str, file: Path, confinement: Confinement | None = None) -> list[str]:
    """Give the command that runs the router in the foreground.

    One that becomes another user serves in a child process: the kernel forgets what the process is
    to get when its parent dies as soon as it becomes another user. The child ends with the parent.
    """
    processes = ["-W", "-db"] if confinement else ["-db"]
    return [program, *processes, "-f", str(file)]


def _global(socket: Path, policy: Policy, confinement: Confinement | None) -> str:
    limits, owner = "", ""
    if confinement is not None:
        folder, user, admin = quoted(confinement.folder), confinement.user, confinement.admin
        limits = _CONFINEMENT.format(folder=folder, user=user)
        owner = f"user {admin} group {admin} "
    return _GLOBAL.format(
        description=DESCRIPTION,
        confinement=limits,
        socket=socket_address(socket),
        owner=owner,
        places=policy.places,
    )


def backend_name(port: int) -> str:
    """Give the name of a port's backend."""
    return f"port_{port}"


def ensure_slot(slot: str) -> None:
    """Raise unless it is the name of a slot.

    Raises:
        RouterError: it is not.
    """
    if slot not in SLOTS:
        raise RouterError(f"{slot!r} is not a slot; there are {' and '.join(SLOTS)}")


def _backend(port: int, route: Route | None) -> str:
    if route is not None:
        ensure_slot(route.slot)
    lines = [f"backend {backend_name(port)} from slots"]
    for slot in SLOTS:
        if route is not None and slot == route.slot:
            lines.append(f"    server {slot} {join_address(*split_address(route.address))}")
        else:
            lines.append(f"    server {slot} {_NOWHERE} disabled")
    return "\n".join(lines) + "\n"


def _error(status: int, text: str) -> str:
    return (
        f"    http-error status {status} content-type text/plain hdr Cache-Control no-store "
        f'string "{text}\\n"'
    )
