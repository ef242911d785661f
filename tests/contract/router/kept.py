"""An app that keeps its connections open, and records which request came over which of them."""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.haproxy import LOCALHOST

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Received:
    """A request as the app has read it."""

    connection: int  # from 1, in the order in which the app accepted them
    number: int  # of the request on that connection, from 1
    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def asks_to_close(self) -> bool:
        return b"\r\nconnection: close\r\n" in self.head.lower()


def answers(_: Received) -> bytes | None:
    """Answer every request."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Kept:
    """The app. Its behaviour gives the bytes to send for a request, or None to close instead."""

    behaviour: Callable[[Received], bytes | None] = answers
    first: bytes = b""  # sent before the behaviour is asked
    seen: list[Received] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._socket = socket.create_server((LOCALHOST, 0), backlog=1024)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            for number in range(1, 1_000_000):
                connection, _ = self._socket.accept()
                self.open.add(number)
                threading.Thread(target=self._keep, args=(connection, number), daemon=True).start()

    def _keep(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(PATIENCE_S)
        with closing(connection), suppress(OSError), connection.makefile("rb") as stream:
            count = 0
            while head := _head(stream):
                count += 1
                received = Received(number, count, head, _body(stream, head))
                self.seen.append(received)
                connection.sendall(self.first)
                answer = self.behaviour(received)
                if answer is None:
                    break
                connection.sendall(answer)
                if not answer.endswith(b"ok"):
                    break
        self.open.discard(number)


def _head(stream: BinaryIO) -> bytes:
    lines: list[bytes] = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def _body(stream: BinaryIO, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked\r\n" in head.lower():
        pieces: list[bytes] = []
        while size := int(stream.readline(), 16):
            pieces.append(stream.read(size + 2)[:-2])
        stream.readline()
        return b"".join(pieces)
    found = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
    return stream.read(int(found[1])) if found else b""
