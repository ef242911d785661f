"""A proxy of the real Docker Engine that takes other versions of its API, and can be replaced.

It refuses a version as the engine does, in the engine's words, and passes on everything else with
the version that the real engine speaks. It writes the one answer that newer engines write in
another form, the disk use, in the form of the version that was asked for.
"""

import json
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REAL = "/var/run/docker.sock"
# The first versions with the disk use in its new form beside the old one, and with that form alone.
BOTH_FORMS, NEW_FORM = (1, 52), (1, 53)
LISTS = {"Images": "Image", "Containers": "Container", "BuildCache": "BuildCache"}
_PATH = re.compile(rb"^([A-Z]+) (?:/v([0-9]+)\.([0-9]+))?(/[^ ]*) HTTP/1.1\r\n")
_TOLD = re.compile(rb"(?i)\r\nApi-Version: [0-9.]+")


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
            if path == b"/version":
                connection.sendall(_version(engine, release))
                return
            if path.startswith(b"/system/df") and version >= BOTH_FORMS:
                connection.sendall(_disk_use(engine, version, in_detail=b"verbose=1" in path))
                return
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
    return _answer_of("400 Bad Request", told, body)


def _object(engine: socket.socket) -> dict[str, Any]:
    """Read a whole answer, and give the JSON object in it."""
    head, body = _head(engine)
    while data := engine.recv(65536):
        body += data
    if b"chunked" in head:
        body = b"".join(body.split(b"\r\n")[1::2])
    found: dict[str, Any] = json.loads(body)
    return found


def _version(engine: socket.socket, release: Release) -> bytes:
    oldest = ".".join(map(str, release.oldest))
    told = {**_object(engine), "ApiVersion": release.name, "MinAPIVersion": oldest}
    named = f"Api-Version: {release.name}\r\n" if release.is_frank else ""
    return _answer_of("200 OK", named, json.dumps(told).encode())


def _disk_use(engine: socket.socket, version: tuple[int, int], *, in_detail: bool) -> bytes:
    found = _object(engine)
    if "message" in found:  # another test is measuring at this moment
        return _answer_of("409 Conflict", "", json.dumps(found).encode())
    told = {} if version >= NEW_FORM or in_detail else dict(found)
    for name, kind in LISTS.items():
        items = found[name] or []
        told[f"{kind}Usage"] = {"TotalCount": len(items), **({"Items": items} if in_detail else {})}
    return _answer_of("200 OK", "", json.dumps(told).encode())


def _answer_of(status: str, headers: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _back(engine: socket.socket, client: socket.socket, release: Release) -> None:
    head, rest = _head(engine)
    told = b"\r\nApi-Version: " + release.name.encode() if release.is_frank else b""
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
