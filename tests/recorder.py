"""A real HTTP server that writes down every request and can be told to misbehave.

`tests.gitserver` and `tests.githubapi` are made of it.
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

LARGEST_BODY = 64 * 1024 * 1024
LONGEST_HANG_S = 60.0


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def authorization(self) -> str | None:
        """The credentials that came along."""
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Answer:
    """What the server sends back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Fault:
    """A way to misbehave: with `status`, `headers` and `body`, or by not answering at all."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"as scripted\n"
    hang: bool = False  # say nothing until the server is stopped
    reset: bool = False  # cut the connection
    trickle: bool = False  # begin an answer and go on with a byte every 0.2 s
    times: int | None = None  # how many requests it lasts; None: until `heal()`

    @classmethod
    def redirect(cls, location: str, status: int = 301) -> "Fault":
        """Send the client somewhere else."""
        return cls(status=status, headers={"Location": location})


class RecordingServer:
    """Answers on a free port of 127.0.0.1 while its context is open."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._faults: deque[Fault] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.recorder = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, *faults: Fault) -> None:
        """Misbehave like this, one fault after the other, from the next request on."""
        with self._lock:
            self._faults.extend(faults)

    def heal(self) -> None:
        """Behave again."""
        with self._lock:
            self._faults.clear()

    def answer(self, request: Request) -> Answer:
        """Answer a request while no fault is scripted."""
        raise NotImplementedError

    def handle(self, request: Request) -> Answer | Fault:
        """Write the request down, and give the scripted fault or the answer."""
        with self._lock:
            self.requests.append(request)
            fault = self._next_fault()
        return self.answer(request) if fault is None else fault

    def wait_until_stopped(self, seconds: float) -> bool:
        """Hang for that long at most; true once the server is stopping."""
        return self._stopping.wait(seconds)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Cut hanging requests and free the port."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _next_fault(self) -> Fault | None:
        if not self._faults:
            return None
        fault = self._faults[0]
        if fault.times is not None:
            self._faults.popleft()
            if fault.times > 1:
                self._faults.appendleft(replace(fault, times=fault.times - 1))
        return fault


class _Server(ThreadingHTTPServer):
    recorder: RecordingServer
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away in the middle are what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = LONGEST_HANG_S
    # Answers are sent whole; without this each waits for the client's delayed acknowledgement.
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing; the recorder knows."""

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.recorder.handle(
            Request(self.command, path, query, headers, self._body())
        )
        if isinstance(reply, Fault) and self._misbehave(reply):
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGEST_BODY))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(64), 16)
        content = self.rfile.read(min(size, LARGEST_BODY))
        self.rfile.readline(64)
        return content

    def _misbehave(self, fault: Fault) -> bool:
        """Do what is no answer at all; false when the fault is one."""
        if fault.hang:
            self.server.recorder.wait_until_stopped(LONGEST_HANG_S)
        elif fault.reset:
            # Lingering for no time makes the kernel send RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif fault.trickle:
            self._trickle()
        return fault.hang or fault.reset or fault.trickle

    def _trickle(self) -> None:
        self.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
        self.wfile.flush()
        for _ in range(int(LONGEST_HANG_S / 0.2)):
            if self.server.recorder.wait_until_stopped(0.2):
                return
            self.wfile.write(b" ")
            self.wfile.flush()
