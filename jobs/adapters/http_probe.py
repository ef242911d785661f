"""One health check request to a container: a plain GET over a plain socket.

It uses no HTTP library. None has a single deadline for the whole exchange, and a health check must
not follow redirects, read proxy settings from the environment or read an endless answer.
"""

import re
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from jobs.adapters.haproxy.shares import OWN_SOURCE
from jobs.rules import http_body
from jobs.rules.container_values import HealthRequest, ProbeResult
from jobs.rules.ip_addresses import is_ip

# Bytes; the most that is read of an answer. The final status must be within them.
LONGEST_READ = 8192
# A running container accepts or refuses a connection at once; an ended one does not answer.
LONGEST_CONNECT_S = 1.0
# The rest of an unhealthy answer, whose first line helps to understand it.
BODY_WITHIN_S = 0.5
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r?\n")
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class HttpProbe:
    """Checks containers over the network. Thread-safe."""

    def look(
        self, address: str, port: int, request: HealthRequest, *, timeout_s: float
    ) -> ProbeResult:
        """Send the request and judge the status; without a path, connect by TCP.

        Args:
            timeout_s: seconds for the whole check, from connecting to the status; above 0. The body
                of an unhealthy answer may take `BODY_WITHIN_S` more.
        """
        if not is_ip(address):  # an ended container has none
            return ProbeResult(healthy=False, seen="no IP address to connect to")
        deadline = time.monotonic() + timeout_s
        try:
            connect_s = min(timeout_s, LONGEST_CONNECT_S)
            source = _source(address)
            with socket.create_connection((address, port), connect_s, source) as connection:
                if request.path is None:
                    return ProbeResult(healthy=True, seen="accepts connections")
                connection.settimeout(_left(deadline))
                connection.sendall(_written(request, request.path))
                return _judged(connection, _answer(connection, deadline), request.healthy)
        except TimeoutError:
            return ProbeResult(healthy=False, seen=f"no answer within {timeout_s:g} s")
        except OSError as exc:
            return ProbeResult(healthy=False, seen=_in_words(exc))


def _source(address: str) -> tuple[str, int] | None:
    """Give the source address to connect from: this machine's router always accepts `OWN_SOURCE`.

    None (any source address) when the address is on another machine, or this machine lacks
    `OWN_SOURCE`.
    """
    if ":" in address:
        return None
    try:
        for own in (address, OWN_SOURCE):
            with socket.socket() as candidate:
                candidate.bind((own, 0))
    except OSError:
        return None
    return OWN_SOURCE, 0


def _written(request: HealthRequest, path: str) -> bytes:
    """Write the request as the router passes on one of a visitor to that host.

    But without X-Forwarded-For: there is no visitor, and an app may answer an address of this
    machine otherwise than a visitor's.
    """
    # Escape all characters that a request line must not contain, above all line ends.
    target = quote("/" + path.removeprefix("/"), safe="/%:?#[]@!$&'()*+,;=~-._").partition("#")[0]
    return (
        f"GET {target} HTTP/1.1\r\nHost: {request.host}\r\nUser-Agent: Keystone-Health-Check\r\n"
        f"Accept: */*\r\nX-Forwarded-Proto: {'https' if request.is_https else 'http'}\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


@dataclass(frozen=True)
class _Answer:
    """The beginning of an answer: its final status, and what was read from there on."""

    status: int
    read: bytes


def _answer(connection: socket.socket, deadline: float) -> _Answer | None:
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
        answer = _final_answer(seen)
        if answer is not None or not piece or not _looks_like_http(seen):
            return answer
    return None


def _looks_like_http(seen: bytes) -> bool:
    return seen[: len(b"HTTP/1.")] == b"HTTP/1."[: len(seen)]


def _final_answer(seen: bytes) -> _Answer | None:
    """Find the final answer in the bytes read so far, skipping informational answers (1xx)."""
    while line := STATUS_LINE.match(seen):
        status = int(line[1])
        if status >= 200:  # noqa: PLR2004
            return _Answer(status, seen)
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


def _judged(connection: socket.socket, answer: _Answer | None, healthy: range) -> ProbeResult:
    if answer is None:
        return ProbeResult(healthy=False, seen="an answer that is not HTTP")
    status = answer.status
    is_healthy = status in healthy
    said = "" if is_healthy else _said(connection, answer.read)
    return ProbeResult(healthy=is_healthy, status=status, seen=f"status {status}", said=said)


def _said(connection: socket.socket, read: bytes) -> str:
    """Read on for a moment, and give the line of the body that says what is wrong."""
    deadline, has_ended = time.monotonic() + BODY_WITHIN_S, False
    with suppress(OSError):  # a timeout as well: what has arrived is enough
        while len(read) < LONGEST_READ and not http_body.is_whole(*_parts(read)):
            connection.settimeout(_left(deadline))
            piece = connection.recv(LONGEST_READ - len(read))
            if not piece:
                has_ended = True
                break
            read += piece
    head, body = _parts(read)
    is_cut = not has_ended and not http_body.is_whole(head, body)
    return http_body.said(head, body, is_cut=is_cut)


def _parts(read: bytes) -> tuple[bytes, bytes]:
    """Split what was read of an answer into its head and its body."""
    head = END_OF_HEAD.search(read)
    return (read, b"") if head is None else (read[: head.start()], read[head.end() :])


def _in_words(exc: OSError) -> str:
    match exc:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "closed the connection without an answer"
        case _:
            return f"cannot be reached ({exc.strerror})"
