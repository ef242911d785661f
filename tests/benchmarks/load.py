"""Continuous load, with the time of every answer and every failure.

No failed request is repeated. `wrk` makes the bulk of the requests. The visitors here cover what
`wrk` cannot: new connections, bodies, answers that take ten seconds, and WebSocket tunnels.
"""

import http.client
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAUSE_S = 0.01
LONGEST_ANSWER_S = 30.0
SLOW_MS = 10_000
TUNNEL_S = 3.0
# The key of RFC 6455's example; the test server knows the answer to it.
UPGRADE = (
    b"GET /echo HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
LONGEST_WRK_S = 3600
WRK = ["-t1", "-c8", f"-d{LONGEST_WRK_S}s", "--latency"]


@dataclass
class Load:
    """The results of the visitors of one app so far."""

    port: int
    slow_ms: int = SLOW_MS
    times: list[float] = field(default_factory=list)  # seconds; only of the quick requests
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def visitors(self) -> list[Callable[[], None]]:
        """Give one visitor of every kind."""
        return [
            lambda: self._ask("GET", "/version", keep=True),
            lambda: self._ask("GET", "/version", keep=False),
            lambda: self._ask("POST", "/version", keep=True),
            lambda: self._ask("POST", "/version", keep=False),
            lambda: self._ask("GET", f"/slow?ms={self.slow_ms}", keep=False),
            self._tunnel,
        ]

    def _ask(self, method: str, path: str, *, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_ANSWER_S)
        body = b"x" * 3000 if method == "POST" else None
        while not self.is_over.wait(PAUSE_S):
            began = time.monotonic()
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                answer.read()
                failure = "" if answer.status == http.HTTPStatus.OK else str(answer.status)
            except (OSError, http.client.HTTPException) as exc:
                failure = repr(exc)
            took = time.monotonic() - began
            self._note(failure and f"{method} {path}: {failure}", None if "slow" in path else took)
            if failure or not keep:
                connection.close()
        connection.close()

    def _tunnel(self) -> None:
        """Open a tunnel, echo bytes through it for a while, and open the next."""
        while not self.is_over.wait(PAUSE_S):
            try:
                with socket.create_connection(("127.0.0.1", self.port), LONGEST_ANSWER_S) as tunnel:
                    self._echo(tunnel)
                failure = ""
            except OSError as exc:
                failure = f"WebSocket: {exc!r}"
            self._note(failure, None)

    def _echo(self, tunnel: socket.socket) -> None:
        tunnel.sendall(UPGRADE)
        if b" 101 " not in tunnel.recv(4096):
            raise ConnectionError("it was not upgraded")
        until = time.monotonic() + TUNNEL_S
        while time.monotonic() < until and not self.is_over.wait(0.1):
            tunnel.sendall(b"\x81\x05hello")
            if tunnel.recv(64) != b"\x81\x05hello":
                raise ConnectionError("it was cut")

    def _note(self, failure: str, took: float | None) -> None:
        with self.lock:
            self.requests += 1
            if failure:
                self.failures.append(failure)
            elif took is not None:
                self.times.append(took)


@contextmanager
def visited(port: int, *, slow_ms: int = SLOW_MS) -> Iterator[Load]:
    """Send requests of every kind of visitor to an app for the length of the block."""
    load = Load(port, slow_ms)
    threads = [threading.Thread(target=visit) for visit in load.visitors()]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.is_over.set()
        for thread in threads:
            thread.join(LONGEST_ANSWER_S + 5)


@dataclass
class Crowd:
    """The result that `wrk` prints at its end."""

    requests: int = 0
    failed: int = 0
    p50: str = ""
    p99: str = ""


@contextmanager
def crowded(port: int) -> Iterator[Crowd]:
    """Let `wrk` load an app over a few connections, at full speed, for the length of the block.

    The crowd has the result once the block has ended.
    """
    wrk = shutil.which("wrk")
    assert wrk, "wrk is not installed; `apt-get install wrk`"
    crowd = Crowd()
    command = [wrk, *WRK, f"http://127.0.0.1:{port}/version"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield crowd
        finally:
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=60)
    _read(told, crowd)


def _read(told: str, crowd: Crowd) -> None:
    def number(pattern: str) -> int:
        found = re.search(pattern, told)
        return sum(map(int, found.groups())) if found else 0

    crowd.requests = number(r"(\d+) requests in")
    errors = number(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
    crowd.failed = errors + number(r"Non-2xx or 3xx responses: (\d+)")
    found = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", told, re.MULTILINE))
    crowd.p50, crowd.p99 = found.get("50", "?"), found.get("99", "?")
    assert crowd.requests, f"wrk has found nothing: {told}"
