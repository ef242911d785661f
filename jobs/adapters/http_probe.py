"""One health check request to a container: a plain GET over a plain socket.

It uses no HTTP library. None has a single deadline for the whole exchange, and a health check must
not follow redirects, read proxy settings from the environment or read an endless answer.
"""

import re
import socket
import time
from urllib.parse import quote

from jobs.adapters.haproxy.shares import OWN_SOURCE
from jobs.rules.container_values import ProbeResult
from jobs.rules.ip_addresses import is_ip

# Bytes; the most that is read of an answer. The final status must be within them.
LONGEST_READ = 8192
# A running container accepts or refuses a connection at once; an ended one does not answer.
LONGEST_CONNECT_S = 1.0
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class HttpProbe:
    """Checks containers over the network. Thread-safe."""

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
            timeout_s: seconds for the whole check, from connecting to the status; above 0.
        """
        if not is_ip(host):  # an ended container has none
            return ProbeResult(healthy=False, seen="no IP address to connect to")
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


def _source(host: str) -> tuple[str, int] | None:
    """Give the source address to connect from: this machine's router always accepts `OWN_SOURCE`.

    None (any source address) when the host is on another machine, or this machine lacks that
    address.
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
    # Escape all characters that a request line must not contain, above all line ends.
    target = quote("/" + path.removeprefix("/"), safe="/%:?#[]@!$&'()*+,;=~-._").partition("#")[0]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (
        f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Keystone-Health-Check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def _status(connection: socket.socket, deadline: float) -> int | None:
    """Read up to the final status; None when the answer is not HTTP.

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
    """Find the final status in the bytes read so far, skipping informational answers (1xx)."""
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
