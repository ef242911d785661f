"""The only way out of a network namespace: an HTTP proxy that listens inside and asks outside.

A socket belongs to the namespace in which it was made, whoever uses it. So this process makes the
listening socket there, and everything else here. No rule of this machine's network changes.
"""

import ctypes
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

PORT = 3128
URL = f"http://127.0.0.1:{PORT}"
LARGEST_HEAD = 64 * 1024
PATIENCE_S = 300.0
_CLONE_NEWNET = 0x40000000
_HOP = re.compile(rb"(?im)^(?:Proxy-)?Connection:[^\r]*\r\n")


@contextmanager
def way_out(pid: int) -> Iterator[None]:
    """Have the proxy in the network of a process for the length of the block."""
    listener = _listening_in(pid)
    accepting = threading.Thread(target=_accept, args=(listener,), daemon=True)
    accepting.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(60)
        listener.close()


def _listening_in(pid: int) -> socket.socket:
    """Make the socket in a thread of its own: the namespace is changed for that thread alone."""
    made: list[socket.socket] = []

    def make() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(("127.0.0.1", PORT), backlog=64))
        finally:
            os.close(namespace)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(60)
    return made[0]


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # it was shut down
            return
        threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    client.settimeout(PATIENCE_S)
    with client, suppress(OSError, ValueError):
        head, rest = _head(client)
        method, _, after = head.partition(b" ")
        target, _, tail = after.partition(b" ")
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                _relay(client, server)
            return
        url = urlsplit(target.decode())
        path = f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        with socket.create_connection(
            (str(url.hostname), url.port or 80), timeout=PATIENCE_S
        ) as to:
            line, _, headers = tail.partition(b"\r\n")
            # One answer to each connection: only its beginning is read.
            kept = b"Connection: close\r\n" + _HOP.sub(b"", headers)
            to.sendall(method + b" " + path.encode() + b" " + line + b"\r\n" + kept + rest)
            _relay(client, to)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(65536)
        if not data or len(received) > LARGEST_HEAD:
            raise ValueError("no request")
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _relay(client: socket.socket, server: socket.socket) -> None:
    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
    back.start()
    _copy(client, server)
    back.join(PATIENCE_S)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
