"""A proxy of the real Docker Engine that takes other versions of its API, and can be replaced.

It refuses a version as the engine does, in the engine's words, and passes on everything else with
the version that the real engine speaks.
"""

import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

REAL = "/var/run/docker.sock"
_PATH = re.compile(rb"^([A-Z]+) (?:/v([0-9]+)\.([0-9]+))?(/[^ ]*) HTTP/1.1\r\n")
_TOLD = re.compile(rb"(?i)\r\nApi-Version: ([0-9.]+)")


@dataclass(frozen=True)
class Release:
    """A release of the engine, with the versions of its API.

    Attributes:
        is_frank: whether its answers name its newest version, as the engine's do.
    """

    oldest: tuple[int, int]
    newest: tuple[int, int]
    is_frank: bool = True

    def takes(self, version: tuple[int, int]) -> bool:
        return self.oldest <= version <= self.newest

    def refusal(self, version: tuple[int, int]) -> bytes:
        told = ".".join(map(str, version))
        if version > self.newest:
            rest = f"too new. Maximum supported API version is {self.name}"
            return f'{{"message":"client version {told} is {rest}"}}'.encode()
        oldest = ".".join(map(str, self.oldest))
        rest = f"too old. Minimum supported API version is {oldest}, please upgrade your client"
        return f"client version {told} is {rest} to a newer version".encode()

    @property
    def name(self) -> str:
        return ".".join(map(str, self.newest))


class EngineFront:
    """What listens on the engine's socket now; `becomes` is who listens from the next request on.

    Attributes:
        refused: how many requests were refused for their version.
        asked: the method and path of each request that was passed on, with the client's version.
    """

    def __init__(self, folder: Path, release: Release) -> None:
        self.url = f"unix://{folder / 'engine.sock'}"
        self.release = release
        self.refused = 0
        self.asked: list[str] = []
        self._replacing: tuple[str, Release] | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "engine.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def becomes(self, release: Release, *, after: str = "") -> None:
        """Replace the engine now, or once it has answered a request for that path."""
        if after:
            self._replacing = after, release
        else:
            self.release = release

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the proxy has ended
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(REAL)
            head, rest = _head(connection)
            found = _PATH.match(head)
            if found is None:
                return
            method, major, minor, path = found.groups()
            release = self.release
            version = (int(major), int(minor)) if major else release.newest
            if not release.takes(version):
                self.refused += 1
                connection.sendall(_refusal(release, version))
                return
            self.asked.append(f"{method.decode()} v{version[0]}.{version[1]} {path.decode()}")
            if self._replacing and path.decode() == self._replacing[0]:
                self.release, self._replacing = self._replacing[1], None
            line = b"%s %s HTTP/1.1\r\n" % (method, path)
            engine.sendall(line + _once(head[found.end() :]) + rest)
            back = threading.Thread(target=_back, args=(engine, connection, release), daemon=True)
            back.start()
            _copy(connection, engine)
            back.join(60)


def _head(source: socket.socket) -> tuple[bytes, bytes]:
    """Read up to the end of the headers; give also what has come after them."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (data := source.recv(65536)):
            return b"", b""
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _once(headers: bytes) -> bytes:
    """Ask for one answer to each connection: the proxy only looks at a connection's beginning."""
    if re.search(rb"(?i)(^|\r\n)Upgrade:", headers):
        return headers
    kept = re.sub(rb"(?im)^Connection:[^\r]*\r\n", b"", headers)
    return b"Connection: close\r\n" + kept


def _refusal(release: Release, version: tuple[int, int]) -> bytes:
    body = release.refusal(version)
    told = f"Api-Version: {release.name}\r\n" if release.is_frank else ""
    head = f"HTTP/1.1 400 Bad Request\r\n{told}Content-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _back(engine: socket.socket, client: socket.socket, release: Release) -> None:
    head, rest = _head(engine)
    told = b"\r\nApi-Version: " + release.name.encode() if release.is_frank else b""
    shown = _TOLD.search(head)
    real = shown[1] if shown else b""
    # As long as before: the answer to /version says how long it is.
    rest = rest.replace(b'"ApiVersion":"%s"' % real, b'"ApiVersion":"%s"' % release.name.encode())
    try:
        client.sendall(_TOLD.sub(told, head) + rest)
    except OSError:  # the client has gone
        return
    _copy(engine, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other direction ended first
        return
