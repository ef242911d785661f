"""Sends raw bytes to every entrance of the router, to an app that records what it receives."""

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

from tests.haproxy import LOCALHOST

PATIENCE_S = 60.0
END_OF_HEAD = b"\r\n\r\n"
Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Mirror:
    """An app that records the bytes it receives, and sends the answer that the test sets.

    It answers and closes as soon as the request's head is complete; while `holds` is set it waits.
    """

    adds: list[bytes] = field(default_factory=list)  # extra lines for the head of the answer
    seen: list[bytes] = field(default_factory=list)
    status: bytes = b"200 OK"
    may_answer: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()
        self._socket = socket.create_server((LOCALHOST, 0), backlog=4096)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def lines(self) -> list[bytes]:
        """Give the head's lines of the only recorded request, with names in lower case."""
        (request,) = self.seen
        return request.partition(END_OF_HEAD)[0].split(b"\r\n")

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of a header of the only recorded request."""
        pairs = (line.partition(b": ") for line in self.lines()[1:])
        return [value for key, _, value in pairs if key.lower() == name]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError):
            connection.settimeout(PATIENCE_S)
            request = b""
            while END_OF_HEAD not in request:
                piece = connection.recv(65536)
                if not piece:
                    return
                request += piece
            self.seen.append(request + self._rest(connection, request))
            self.may_answer.wait(PATIENCE_S)
            head = b"".join(line + b"\r\n" for line in self.adds)
            if self.status.startswith(b"101"):
                connection.sendall(b"HTTP/1.1 " + self.status + b"\r\n" + head + b"\r\n")
                connection.recv(1)
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + head + b"\r\nok")

    def _rest(self, connection: socket.socket, request: bytes) -> bytes:
        """Read a chunked body to its end."""
        rest = b""
        if b"\r\ntransfer-encoding: chunked" in request.lower():
            whole = request.partition(END_OF_HEAD)[2]
            while not (whole + rest).endswith(END_OF_HEAD):
                rest += connection.recv(65536)
        return rest


@dataclass(frozen=True)
class Way:
    """One entrance of the router, and the host names of the app there."""

    port: int
    host: str
    wildcard: str  # the name without its first label
    trust: ssl.SSLContext | None = None

    def plain(self, source: str = LOCALHOST) -> socket.socket:
        """Connect without TLS."""
        return socket.create_connection((LOCALHOST, self.port), PATIENCE_S, (source, 0))

    def connect(self, *, source: str = LOCALHOST, protocol: str = "http/1.1") -> socket.socket:
        plain = self.plain(source)
        if self.trust is None:
            return plain
        self.trust.set_alpn_protocols([protocol])
        secured = self.trust.wrap_socket(
            plain, server_hostname=self.host, do_handshake_on_connect=False
        )
        try:
            secured.do_handshake()
        except OSError:
            secured.close()
            raise
        return secured

    def send(self, request: bytes, **options: str) -> bytes:
        """Send bytes, and give the whole answer until the router closes the connection."""
        with closing(self.connect(**options)) as connection:
            connection.sendall(request)
            return b"".join(_pieces(connection))

    def get(self, *lines: bytes, host: bytes | None = None, target: bytes = b"/") -> bytes:
        """Send a GET with these extra lines in its head."""
        named = self.host.encode() if host is None else host
        head = [b"GET " + target + b" HTTP/1.1", b"Host: " + named, *lines, b"Connection: close"]
        return self.send(b"\r\n".join(head) + END_OF_HEAD)


def _pieces(connection: socket.socket) -> Iterator[bytes]:
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            yield piece


def status(answer: bytes) -> int:
    """Read the status of an answer; 0 if the connection was closed without an answer."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


@dataclass
class Http2:
    """A browser's HTTP/2 connection that sends any headers without validation."""

    way: Way
    source: str = LOCALHOST
    statuses: dict[int, int] = field(default_factory=dict)  # by stream; 0: the stream was reset

    def __post_init__(self) -> None:
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = h2.connection.H2Connection(config)
        self._socket = self.way.connect(source=self.source, protocol="h2")
        self._h2.initiate_connection()
        self._send()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, headers: Headers = (), *, authority: str | None = None) -> int:
        """Send a GET, and give its stream id."""
        named = self.way.host if authority is None else authority
        pseudo = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https")]
        pseudo += [(b":authority", named.encode())] if named else []
        return self.send([*pseudo, *headers])

    def send(self, headers: Headers, *, ends: bool = True) -> int:
        """Send exactly these headers, and give the stream id; `ends` closes our side of it."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, headers, end_stream=ends)
        self._send()
        return stream

    def upload(self, headers: Headers, pieces: Sequence[bytes]) -> int:
        """Send a request whose body comes in pieces, and give the stream id."""
        stream = self.send(headers, ends=False)
        for number, piece in enumerate(pieces, start=1):
            self._h2.send_data(stream, piece, end_stream=number == len(pieces))
            self._send()
        return stream

    def status(self, stream: int) -> int:
        """Wait for the answer on a stream."""
        deadline = time.monotonic() + PATIENCE_S
        while stream not in self.statuses:
            assert time.monotonic() < deadline, "no answer"
            self._receive()
        return self.statuses[stream]

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _receive(self) -> None:
        self._socket.settimeout(PATIENCE_S)
        for event in self._h2.receive_data(self._socket.recv(65536)):
            match event:
                case h2.events.ResponseReceived():
                    found = dict(event.headers)
                    self.statuses[event.stream_id] = int(found[b":status"])
                case h2.events.StreamReset():
                    self.statuses.setdefault(event.stream_id, 0)
                case _:
                    pass
        self._send()


def accepted(key: bytes) -> bytes:
    """Give the server's answer to the key of a WebSocket handshake."""
    told = key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(told).digest())  # noqa: S324 — RFC 6455 requires SHA-1
