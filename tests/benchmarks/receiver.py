"""Measures the answer to a signed push, with its row on disk: one by one, and 1,000 at once."""

import http.client
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from urllib.parse import urlsplit

from tests.acceptance.keystone import OVER, until
from tests.acceptance.payloads import Delivery
from tests.acceptance.project import Project
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, ms, percentile, say, show

ONE_BY_ONE = 300
BURST, CONNECTIONS = 1000, 32
GOAL_S = 0.020
WITHIN_S = 60.0
# After a deployment has ended, its worker still cleans up and starts the next child.
TIDYING_S = 0.3
ACCEPTED = {200, 202}


@dataclass
class Answers:
    """The statuses and times of the answers to a series of deliveries."""

    name: str
    times: list[float] = field(default_factory=list)  # seconds
    statuses: list[int] = field(default_factory=list)

    def row(self) -> list[str]:
        """Give the row of the table."""
        figures = [median(self.times), percentile(self.times, 99), max(self.times)]
        others = sum(status not in ACCEPTED for status in self.statuses)
        return [self.name, str(len(self.times)), *map(ms, figures), str(others)]


def run() -> bool:
    """Measure, print, and say whether the goals were reached."""
    with standing() as stand:
        series = measure(stand, count=ONE_BY_ONE, burst=BURST)
    show(
        "Signed pushes (ms)",
        ["", "pushes", "median", "p99", "max", "refused"],
        [each.row() for each in series],
    )
    idle = next(each for each in series if each.name.startswith("queued, idle"))
    refused = [status for each in series for status in each.statuses if status not in ACCEPTED]
    say(f"\n  queued, idle workers: {ms(median(idle.times))} ms (goal: at most {ms(GOAL_S)})")
    return median(idle.times) <= GOAL_S and not refused


def measure(stand: Stand, *, count: int, burst: int) -> list[Answers]:
    """Send every kind of push; the queued deployments fail at their first step."""
    nowhere = f"file://{stand.folder}/there-is-no-repository-here"
    project = stand.project("received", git_url=nowhere, token=None)
    ignored = partial(_push, project, ref="refs/heads/another")
    queued = partial(_push, project)
    known = queued(0)
    _one_by_one(stand, "", [known], settle=True)
    series = [
        _one_by_one(stand, "ignored (another branch)", map(ignored, range(count))),
        _one_by_one(stand, "queued, idle workers", map(queued, range(count)), settle=True),
        _one_by_one(stand, "duplicate", [known] * count),
        _one_by_one(stand, "queued, busy workers", map(queued, range(count))),
    ]
    series.append(_at_once(stand, [queued(number) for number in range(burst)]))
    _wait_until_idle(stand, timeout=300)
    return series


def _push(project: Project, number: int, *, ref: str = "refs/heads/main") -> Delivery:
    return project.delivery(project.payload(f"{time.time_ns() + number:040x}", ref=ref))


def _one_by_one(
    stand: Stand, name: str, deliveries: Iterable[Delivery], *, settle: bool = False
) -> Answers:
    """Send deliveries one by one over one connection; `settle` waits for the workers in between."""
    answers = Answers(name)
    with _connected(stand) as connection:
        for delivery in deliveries:
            _note(answers, connection, delivery)
            if settle:
                _wait_until_idle(stand)
                time.sleep(TIDYING_S)
                # The web process closes connections idle for 10 s: a push must not race with that.
                connection.close()
                connection.connect()
    return answers


def _at_once(stand: Stand, deliveries: list[Delivery]) -> Answers:
    answers = Answers(f"a burst over {CONNECTIONS} connections")

    def take_turns(first: int) -> None:
        with _connected(stand) as connection:
            for delivery in islice(deliveries, first, None, CONNECTIONS):
                _note(answers, connection, delivery)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(take_turns, range(CONNECTIONS)))
    return answers


def _note(answers: Answers, connection: http.client.HTTPConnection, delivery: Delivery) -> None:
    began = time.monotonic()
    connection.request("POST", "/webhooks/github", delivery.body, delivery.headers)
    answer = connection.getresponse()
    answer.read()
    answers.times.append(time.monotonic() - began)
    answers.statuses.append(answer.status)


@contextmanager
def _connected(stand: Stand) -> Iterator[http.client.HTTPConnection]:
    """Open a connection that adds little cost itself."""
    address = urlsplit(stand.keystone.url).netloc
    with closing(http.client.HTTPConnection(address, timeout=WITHIN_S)) as connection:
        yield connection


def _wait_until_idle(stand: Stand, *, timeout: float = 120) -> None:
    """Wait until no deployment is queued or running."""

    def is_idle() -> bool:
        (latest,) = stand.keystone.api("GET", "/api/deployments?limit=1")["items"]
        return latest["state"] in OVER

    until(is_idle, timeout=timeout, what="the workers are idle")
