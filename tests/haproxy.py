"""A real HAProxy with Keystone's configuration, and small web servers to put behind it."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import SystemRandom

from pydantic import SecretStr

from jobs.adapters.haproxy.config import command, configuration
from jobs.adapters.haproxy.frontends import DomainDoors, Policy
from jobs.adapters.haproxy.router import HAProxyRouter
from jobs.errors import RouterError
from jobs.processes.router_server import write_domain_files
from jobs.rules.container_values import Route, Warm

START_DEADLINE_S = 60.0
PLACES = 4096  # enough for any test that is not about them
PORTS = range(21000, 32000)  # below those of outgoing connections
LOCALHOST = "127.0.0.1"
_next = SystemRandom().randrange(len(PORTS))  # other checkouts have tests as well


@dataclass
class RunningRouter:
    """A HAProxy that is up, and the adapter that speaks to it."""

    folder: Path
    ports: list[int]
    bind: str = LOCALHOST
    doors: DomainDoors = field(default_factory=lambda: DomainDoors(LOCALHOST))
    policy: Policy = field(default_factory=lambda: Policy(PLACES))
    _process: subprocess.Popen[bytes] | None = None

    @property
    def adapter(self) -> HAProxyRouter:
        return HAProxyRouter(self.folder / "router.sock", timeout_s=60)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def _log(self) -> Path:
        return self.folder / "router.log"

    def start(
        self,
        routes: Iterable[Route] = (),
        domains: Mapping[str, int] | None = None,
        certificates: Mapping[str, SecretStr] | None = None,
        warm: Sequence[Warm] = (),
    ) -> None:
        """Write the configuration and run it; raise with HAProxy's own words when it ends."""
        file = self.folder / "haproxy.cfg"
        text = configuration(
            bind=self.bind,
            ports=self.ports,
            routes=routes,
            socket=self.folder / "router.sock",
            doors=self.doors,
            policy=self.policy,
        )
        write_domain_files(self.folder, domains or {}, certificates or {}, warm)
        file.write_text(text)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command(_program(), file), stderr=log, stdout=log)
        self._wait_until_up(self._process)

    def kill(self) -> None:
        """End HAProxy at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"haproxy ended at once: {self._log.read_text()}")
            try:
                self.adapter.version()
            except RouterError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"haproxy did not come up: {self._log.read_text()}")


@contextmanager
def running_router(
    folder: Path,
    *,
    ports: Iterable[int] | None = None,
    routes: Iterable[Route] = (),
    bind: str = LOCALHOST,
    doors: DomainDoors | None = None,
    policy: Policy | None = None,
) -> Iterator[RunningRouter]:
    """Run a HAProxy for the length of the block, on four free ports when none are given."""
    wanted = list(free_ports(4) if ports is None else ports)
    router = RunningRouter(
        folder, wanted, bind, doors or DomainDoors(LOCALHOST), policy or Policy(PLACES)
    )
    try:
        router.start(routes)
        yield router
    finally:
        router.kill()


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port at which nobody listens, and nobody else comes to."""
    with socket.socket() as taken:
        taken.bind((LOCALHOST, 0))
        yield taken.getsockname()[1]


def free_ports(count: int) -> list[int]:
    """Find that many ports in a row that nobody listens on; another test process finds others.

    They are given in turn: a Keystone listens long after its ports were found free, and meanwhile
    nobody else may find them.
    """
    global _next  # noqa: PLW0603 — where this process is in its share
    ours = _ports_of_this_process()
    for _ in ours:
        # The next ones in a row: those that were given last must not be given again.
        begin = _next % len(ours)
        begin = 0 if begin + count > len(ours) else begin
        wanted = list(ours[begin : begin + count])
        _next = begin + count
        if all(_is_free(port) for port in wanted):
            return wanted
    raise RuntimeError(f"no {count} free ports in a row in {ours}")


def _ports_of_this_process() -> range:
    """Give each of pytest's parallel processes its share."""
    share = len(PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return PORTS[place * share : (place + 1) * share]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


@dataclass
class Upstream:
    """A web server that tells its name, standing in for an app's container.

    `/slow` answers after 0.3 s; `/held` answers half, and the rest once `let_go` is set; `/headers`
    tells what it was sent; a POST is remembered; an upgrade to a WebSocket becomes an echo.
    """

    name: str
    let_go: threading.Event = field(default_factory=threading.Event)
    posted: list[str] = field(default_factory=list)
    assets: set[str] = field(default_factory=set)  # the only paths below /assets/ that exist

    def __post_init__(self) -> None:
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = _Server((LOCALHOST, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop listening, as a container that ended."""
        self._server.shutdown()
        self._thread.join(timeout=60)
        self._server.server_close()

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self.stop()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def do_GET(self) -> None:
        if self.headers.get("Upgrade"):
            return self._echo()
        match self.path:
            case "/slow":
                time.sleep(0.3)
                self._answer(self.upstream.name)
            case "/held":
                self._hold()
            case "/headers":
                self._answer(json.dumps({k.lower(): v for k, v in self.headers.items()}))
            case path if path.startswith("/assets/") and path not in self.upstream.assets:
                self._answer(f"{self.upstream.name} has no {path}", status=404)
            case _:
                self._answer(self.upstream.name)
        return None

    do_HEAD = do_GET  # noqa: N815 — the name that http.server calls

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.upstream.posted.append(hashlib.sha256(body).hexdigest())
        self._answer(self.upstream.name)

    def _answer(self, text: str, *, status: int = 200) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hold(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"half")
        self.upstream.let_go.wait(timeout=60)
        self.wfile.write(b"half")

    def _echo(self) -> None:
        accept = hashlib.sha1(  # noqa: S324
            self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        )
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", b64encode(accept.digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.connection.settimeout(60)
        try:
            while piece := self.connection.recv(100):
                self.connection.sendall(piece)
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the tests' output quiet."""


def websocket(port: int) -> socket.socket:
    """Open a WebSocket through the router, as far as its upgrade."""
    connection = socket.create_connection((LOCALHOST, port), timeout=60)
    key = b64encode(b"keystone-keyston").decode()
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {LOCALHOST}:{port}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    answer = connection.recv(1000)
    if not answer.startswith(b"HTTP/1.1 101 "):
        connection.close()
        raise RuntimeError(f"no upgrade: {answer!r}")
    return connection


def _program() -> str:
    program = shutil.which("haproxy", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if program is None:
        raise RuntimeError("haproxy is not installed: apt-get install haproxy")
    return program
