"""Requests through a router."""

import http.client
import time
from collections.abc import Callable
from contextlib import closing

from tests.haproxy import LOCALHOST

Connection = http.client.HTTPConnection


def visit(port: int, path: str = "/", *, host: str = LOCALHOST) -> tuple[int, str]:
    with closing(Connection(host, port, timeout=60)) as connection:
        return ask(connection, path)


def ask(connection: Connection, path: str = "/") -> tuple[int, str]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def wait_for(condition: Callable[[], object], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
