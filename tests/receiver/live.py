"""The real server on a real socket, for what a test client cannot send: slow, broken, endless."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from receiver.protocol import BoundedHttp

UP_WITHIN_S = 60
ANSWER_WITHIN_S = 60


@dataclass(frozen=True)
class Answer:
    """What came back over the wire."""

    status: int
    head: str
    body: bytes


@contextmanager
def serving(
    app: ASGIApp,
    *,
    port: int = 0,
    protocol: type[BoundedHttp] = BoundedHttp,
    stops_within_s: int = 1,
) -> Iterator[int]:
    """Serve an application as the web process does; gives the port, which is chosen for 0."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=stops_within_s,
        timeout_keep_alive=ANSWER_WITHIN_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        end = time.monotonic() + UP_WITHIN_S
        while not server.started:
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(UP_WITHIN_S)
        listener.close()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Open a connection to the server."""
    with closing(socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN_S)) as connection:
        yield connection


def head(method: str, path: str, **headers: str) -> bytes:
    """Give the bytes of a request's head; `_` in a name stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: testserver"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer until its declared end, or until the server closes."""
    data = b""
    while not _is_whole(data) and (piece := connection.recv(65536)):
        data += piece
    raw_head, _, body = data.partition(b"\r\n\r\n")
    text = raw_head.decode("latin-1").lower()
    return Answer(int(text.split(" ", 2)[1]), text, body)


def _is_whole(data: bytes) -> bool:
    raw_head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in raw_head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
    return False


def send_until_refused(connection: socket.socket, piece: bytes, *, times: int) -> int:
    """Send a piece again and again; gives how often it went before the server hung up."""
    for sent in range(times):
        try:
            connection.sendall(piece)
        except OSError:
            return sent
    return times
