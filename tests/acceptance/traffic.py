"""Visitors of an app that send requests without a pause and repeat no failed request."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAUSE_S = 0.005
# Only a stuck router takes longer; a slow answer of a busy machine is no failure.
LONGEST_ANSWER_S = 60.0
SEEN_WITHIN_S = 60.0


@dataclass(frozen=True)
class Visitor:
    """One kind of visitor."""

    method: str
    path: str
    keeps_connection: bool


VISITORS = (
    Visitor("GET", "/version", keeps_connection=True),
    Visitor("GET", "/version", keeps_connection=False),
    Visitor("POST", "/version", keeps_connection=True),
    Visitor("POST", "/version", keeps_connection=False),
    Visitor("GET", "/slow?ms=400", keeps_connection=True),
    Visitor("POST", "/slow?ms=700", keeps_connection=False),
)


@dataclass
class Traffic:
    """The visitors' answers and failures."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_for(self, answer: str, *, count: int = 20, timeout: float = SEEN_WITHIN_S) -> None:
        """Wait until the visitors have received this answer that many times."""
        deadline = time.monotonic() + timeout
        while self.answers[answer] < count:
            assert time.monotonic() < deadline, f"{answer!r} was not seen: {self.answers}"
            time.sleep(0.02)

    def visit(self, port: int, visitor: Visitor) -> None:
        """Send requests until the traffic ends."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_ANSWER_S)
        body = b"x" * 3000 if visitor.method == "POST" else None
        while not self.is_over.wait(PAUSE_S):
            try:
                connection.request(visitor.method, visitor.path, body)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException) as exc:
                self._note_failure(f"{visitor}: {exc!r}")
                connection.close()
                continue
            if answer.status != http.HTTPStatus.OK:
                self._note_failure(f"{visitor}: {answer.status}")
            with self.lock:
                self.answers[text] += 1
            if not visitor.keeps_connection:
                connection.close()
        connection.close()

    def _note_failure(self, failure: str) -> None:
        with self.lock:
            self.failures.append(failure)


@contextmanager
def steady_traffic(port: int) -> Iterator[Traffic]:
    """Send requests of every kind of visitor to an app for the length of the block."""
    traffic = Traffic()
    threads = [threading.Thread(target=traffic.visit, args=(port, visitor)) for visitor in VISITORS]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        traffic.is_over.set()
        for thread in threads:
            thread.join(LONGEST_ANSWER_S + 5)
