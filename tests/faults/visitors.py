"""A light, steady stream of requests to every app while a house exists."""

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.acceptance.project import Project

PAUSE_S = 0.05
LONGEST_ANSWER_S = 60.0


@dataclass(frozen=True)
class Failure:
    """A request without a proper answer."""

    app: str
    at: float  # of `time.monotonic`
    seen: str


@dataclass
class Visitors:
    """The visitors' requests and failures so far."""

    requests: int = 0
    failures: list[Failure] = field(default_factory=list)
    last_success: float = 0.0
    is_over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def visit(self, project: Project) -> None:
        """Request one app repeatedly, with a new connection each time, until `is_over` is set."""
        while not self.is_over.wait(PAUSE_S):
            begun = time.monotonic()
            seen = _ask(project.port, "/version")
            with self.lock:
                self.requests += 1
                if seen:
                    self.failures.append(Failure(project.name, begun, seen))
                else:
                    self.last_success = time.monotonic()

    def failed_since(self, moment: float) -> list[Failure]:
        """List the failed requests that began at or after a moment."""
        with self.lock:
            return [failure for failure in self.failures if failure.at >= moment]


@contextmanager
def visited(projects: Sequence[Project]) -> Iterator[Visitors]:
    """Send requests to every app for the length of the block."""
    visitors = Visitors()
    threads = [threading.Thread(target=visitors.visit, args=(project,)) for project in projects]
    for thread in threads:
        thread.start()
    try:
        yield visitors
    finally:
        visitors.is_over.set()
        for thread in threads:
            thread.join(LONGEST_ANSWER_S + 5)


@contextmanager
def lingering(project: Project, *, seconds: float) -> Iterator[list[str]]:
    """Start one request of that length before the block; the list receives its failure."""
    failures: list[str] = []

    def linger() -> None:
        if seen := _ask(project.port, f"/slow?ms={int(seconds * 1000)}"):
            failures.append(seen)

    thread = threading.Thread(target=linger)
    thread.start()
    try:
        yield failures
    finally:
        thread.join(LONGEST_ANSWER_S + 5)


def _ask(port: int, path: str) -> str:
    """Send a request, and describe its failure; "" if it succeeded."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as exc:
        return repr(exc)
    finally:
        connection.close()
    return "" if answer.status == http.HTTPStatus.OK else str(answer.status)
