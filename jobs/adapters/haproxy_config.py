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

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.adapters.ports import Route
from jobs.errors import ConfigurationError, RouterError

SLOTS = ("a", "b")
HIGHEST_PORT = 65535

# One thread carries out a line of commands without any request in between; `noreuseport` makes a
# port that somebody else listens on an error, where it would be shared otherwise.
_GLOBAL = """\
global
    default-path config
{confinement}    stats socket {socket} mode 600 {owner}level admin
    nbthread 1
    noreuseport
    maxconn 4096
    no strict-limits
    tune.bufsize 32768
"""

# For a router that root starts: once it listens it can see nothing and is nobody.
_CONFINEMENT = """\
    chroot {folder}
    user {user}
    group {user}
"""

# A visitor who leaves (`abortonclose`) ends his request: nobody drains what nobody waits for.
_VISITORS = """\
defaults visitors
    mode http
    timeout client 60s
    timeout http-keep-alive 60s
    timeout http-request 30s
    timeout client-fin 30s
    option http-server-close
    option abortonclose
{errors}
"""

# Only a proxy on this machine, one that ends TLS, is believed about whom it speaks for.
FORWARDING = """\
    acl local src 127.0.0.0/8 ::1
    http-request del-header X-Forwarded- -m beg unless local
    http-request del-header X-Real-IP unless local
    http-request del-header Forwarded unless local
    http-request del-header Proxy
    acl told_proto req.hdr(X-Forwarded-Proto) -m found
    acl told_host req.hdr(X-Forwarded-Host) -m found
    http-request set-header X-Forwarded-Proto http unless told_proto
    http-request set-header X-Forwarded-Host %[req.hdr(Host)] unless told_host
    option forwardfor if-none
"""

_PORTS = """\
frontend apps from visitors
{binds}
{forwarding}\
    use_backend port_%[dst_port]
"""

# Only a connection that could not be made is tried again, on whichever slot is ready then: what
# the request asked for cannot have happened yet. Three tries, a second apart, also carry a request
# over the restart of a crashed container.
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
    retries 3
    retry-on conn-failure
    http-request return status 503 content-type text/plain hdr Cache-Control no-store \
string "No release of this app is live yet.\\n" if { nbsrv eq 0 }
"""

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


def configuration(
    *,
    bind: str,
    ports: Iterable[int],
    routes: Iterable[Route],
    socket: Path,
    domains: str = "",
    confinement: Confinement | None = None,
) -> str:
    """Give the text of the configuration file.

    Args:
        bind: the address the apps' ports are on.
        ports: every port to listen on; those of other programs must have been left out.
        routes: what is live. A route whose port is not among `ports` is left out.
        socket: where the runtime API will listen, for this user only.
        domains: the frontends that `haproxy_domains` has made.
        confinement: None: it stays the user that starts it.

    Raises:
        ConfigurationError: `bind` is no IP address, there is no port, or the socket's path is one
            that HAProxy cannot be told.
        RouterError: a route's slot or address makes no sense.
    """
    wanted = sorted(set(ports))
    if not wanted:
        raise ConfigurationError("KEYSTONE_PORT_RANGE: other programs have taken all of its ports")
    live = {route.port: route for route in routes}
    errors = "\n".join(_error(status, text) for status, text in _ERRORS.items())
    return "\n".join(
        (
            _global(socket, confinement),
            _VISITORS.format(errors=errors),
            _PORTS.format(binds=_binds(bind, wanted), forwarding=FORWARDING),
            *([domains] if domains else []),
            _BACKENDS,
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


def _global(socket: Path, confinement: Confinement | None) -> str:
    if confinement is None:
        return _GLOBAL.format(confinement="", socket=_socket(socket), owner="")
    return _GLOBAL.format(
        confinement=_CONFINEMENT.format(folder=_quoted(confinement.folder), user=confinement.user),
        socket=_socket(socket),
        owner=f"user {confinement.admin} group {confinement.admin} ",
    )


def backend_name(port: int) -> str:
    """Give the name of a port's backend."""
    return f"port_{port}"


def split_address(address: str) -> tuple[str, int]:
    """Take "10.201.0.2:8000" or "[fd00::2]:8000" apart, into what may stand in a command.

    Raises:
        RouterError: it is not an IP address and a port.
    """
    host, _, port = address.rpartition(":")
    ip = _ip(host.removeprefix("[").removesuffix("]"))
    if ip is None:
        raise RouterError(f"{address!r} is not an address the router can dial")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= HIGHEST_PORT:
        raise RouterError(f"{address!r} has no port the router can dial")
    return ip, int(port)


def bind_address(bind: str, *, setting: str) -> str:
    """Give the address to listen on in its usual spelling.

    Raises:
        ConfigurationError: the setting holds something else.
    """
    host = _ip(bind)
    if host is None:
        raise ConfigurationError(f"{setting}: {bind!r} is not an IP address")
    return host


def join_address(host: str, port: int) -> str:
    """Put an IP address and a port together."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ensure_slot(slot: str) -> None:
    """Raise unless it is the name of a slot.

    Raises:
        RouterError: it is not.
    """
    if slot not in SLOTS:
        raise RouterError(f"{slot!r} is not a slot; there are {' and '.join(SLOTS)}")


def _binds(bind: str, ports: list[int]) -> str:
    host = bind_address(bind, setting="KEYSTONE_APP_BIND")
    runs = [f"{join_address(host, first)}-{last}" for first, last in _ranges(ports)]
    return "\n".join(f"    bind {run}" for run in runs)


def _ip(host: str) -> str | None:
    """Give an IP address in its usual spelling, or None when it is not one."""
    # What stands behind a "%" is the name of an interface, and may be any text at all.
    if "%" in host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _ranges(ports: list[int]) -> Iterator[tuple[int, int]]:
    """Give the first and last of each unbroken run of ports."""
    first = last = ports[0]
    for port in ports[1:]:
        if port != last + 1:
            yield first, last
            first = port
        last = port
    yield first, last


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


def _socket(path: Path) -> str:
    """Write the socket's path so that HAProxy takes every character as it is.

    In an address it reads `$NAME` and a comma even between quotes; those cannot be written.
    """
    if not str(path).isprintable() or set("$,") & set(str(path)):
        raise ConfigurationError(
            f"KEYSTONE_DATA_DIR: the router's socket cannot be at {path}; "
            "use a path without dollar signs, commas and control characters"
        )
    return _quoted(f"unix@{path}")


def _quoted(text: object) -> str:
    return "'" + str(text).replace("'", "'\\''") + "'"
