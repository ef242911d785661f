"""The health check's one look at a container: a plain GET over a plain socket.

No HTTP library stands between: none of them has one deadline for the whole exchange, and none is to
follow redirects, read proxies from the environment or take in an endless answer.
"""

import ipaddress
import re
import socket
import time
from urllib.parse import quote

from jobs.adapters.haproxy.shares import OWN_SOURCE
from jobs.rules.container_values import ProbeResult

# All that is ever read; the final status must stand within it.
LONGEST_READ = 8192
# A container that has ended answers no connection at all; one that runs does so at once.
LONGEST_CONNECT_S = 1.0
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class HttpProbe:
    """Looks at containers over the network. May be used by several threads at once."""

    def look(
        self,
        host: str,
        port: int,
        path: str | None,
        *,
        timeout_s: float,
        healthy: range = range(200, 400),
    ) -> ProbeResult:
        """Send GET `path` and judge the status; without a path, connect by TCP.

        Args:
            timeout_s: seconds for all of it, from the connection to the status; above 0.
        """
        if not _is_ip(host):
            return ProbeResult(healthy=False, seen="no address to look at")
        deadline = time.monotonic() + timeout_s
        try:
            connect_s = min(timeout_s, LONGEST_CONNECT_S)
            with socket.create_connection((host, port), connect_s, _source(host)) as connection:
                if path is None:
                    return ProbeResult(healthy=True, seen="accepts connections")
                connection.settimeout(_left(deadline))
                connection.sendall(_request(host, port, path))
                return _judged(_status(connection, deadline), healthy)
        except TimeoutError:
            return ProbeResult(healthy=False, seen=f"no answer within {timeout_s:g} s")
        except OSError as exc:
            return ProbeResult(healthy=False, seen=_in_words(exc))


def _is_ip(host: str) -> bool:
    """Whether no name has to be looked up. A container that ended has no address at all."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _source(host: str) -> tuple[str, int] | None:
    """Give where to come from: the router on this machine always has a place for `OWN_SOURCE`.

    None: from anywhere, since the host is another one, or this one has no such address.
    """
    if ":" in host:
        return None
    try:
        for address in (host, OWN_SOURCE):
            with socket.socket() as candidate:
                candidate.bind((address, 0))
    except OSError:
        return None
    return OWN_SOURCE, 0


def _request(host: str, port: int, path: str) -> bytes:
    # Whatever may not stand in a request line is escaped, line ends above all.
    target = quote("/" + path.removeprefix("/"), safe="/%:?#[]@!$&'()*+,;=~-._").partition("#")[0]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (
        f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Keystone-Health-Check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def _status(connection: socket.socket, deadline: float) -> int | None:
    """Read as far as the final status; None when what comes is not HTTP.

    Raises:
        ConnectionResetError: the other side closed the connection first.
    """
    seen = b""
    while len(seen) < LONGEST_READ:
        connection.settimeout(_left(deadline))
        piece = connection.recv(LONGEST_READ - len(seen))
        if not piece and not seen:
            raise ConnectionResetError
        seen += piece
        status = _final_status(seen)
        if status is not None or not piece or not _looks_like_http(seen):
            return status
    return None


def _looks_like_http(seen: bytes) -> bool:
    return seen[: len(b"HTTP/1.")] == b"HTTP/1."[: len(seen)]


def _final_status(seen: bytes) -> int | None:
    """Find the status in what has come so far, past the answers that only announce one (1xx)."""
    while line := STATUS_LINE.match(seen):
        status = int(line[1])
        if status >= 200:  # noqa: PLR2004
            return status
        head = END_OF_HEAD.search(seen)
        if head is None:
            return None
        seen = seen[head.end() :]
    return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _judged(status: int | None, healthy: range) -> ProbeResult:
    if status is None:
        return ProbeResult(healthy=False, seen="an answer that is not HTTP")
    return ProbeResult(healthy=status in healthy, status=status, seen=f"status {status}")


def _in_words(exc: OSError) -> str:
    match exc:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "closed the connection without an answer"
        case _:
            return f"cannot be reached ({exc.strerror})"
