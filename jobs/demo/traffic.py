"""The demo's visitors: they send requests to the app all the time, and count the failures."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HTTP_OK = 200
PATIENCE_S = 10
PAUSE_S = 0.005
VISITORS = 4


@dataclass
class Tally:
    """The visitors' results."""

    answers: Counter[str] = field(default_factory=Counter)  # the number of times each answer came
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The number of requests."""
        return self.answers.total() + len(self.failures)


def ask(url: str, *, path: str = "/", patience_s: float = PATIENCE_S) -> str:
    """Send one request, and return the body of the answer as text.

    Raises:
        OSError: no answer came.
        HTTPException: the answer was not HTTP, or its status was not 200.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode(errors="replace").strip()
    finally:
        connection.close()
    if response.status != HTTP_OK:
        raise http.client.HTTPException(f"status {response.status}")
    return text


@contextmanager
def visitors(url: str) -> Iterator[Tally]:
    """Send requests for as long as the block runs; the tally is complete after the block."""
    tally, over = Tally(), threading.Event()
    threads = [
        threading.Thread(target=_visit, args=(url, tally, over), daemon=True)
        for _ in range(VISITORS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=2 * PATIENCE_S)


def _visit(url: str, tally: Tally, over: threading.Event) -> None:
    while not over.wait(PAUSE_S):
        try:
            answer = ask(url)
        except (OSError, http.client.HTTPException) as exc:
            tally.failures.append(f"{type(exc).__name__}: {exc}")
        else:
            tally.answers[answer] += 1
