"""Keystone is stopped, killed, reloaded and upgraded under load: no request fails, no push is lost.

Visitors of every kind request one app through the router all the time, and signed pushes arrive at
Keystone's own address, which the router serves too. No visitor and no push is ever repeated, and a
push has the ten seconds that GitHub gives it.

RESTARTS=n sets another percentage of the long form, which stops Keystone 100 times, kills it 20
times, upgrades it 10 times (once with a change of the schema), reloads the router 10 times, and
swaps the app 50 times.
"""

import http.client
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.acceptance.keystone import OVER, until
from tests.acceptance.project import Project
from tests.apart import installed
from tests.benchmarks.load import SLOW_MS, Crowd, Load, crowded, visited
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import ms, percentile, say, show
from tests.checkout import Checkout

GITHUB_WAITS_S = 10.0
PUSHES = 1000
SETTLED_WITHIN_S = 300.0
COUNTS = {
    "stopped and started": 100,
    "killed": 20,
    "upgraded": 10,
    "router reloaded": 10,
    "swapped": 50,
}
REQUESTS_WAIT_S = 8.5  # at the router, while there is no web process: 9 s at most
ALL_PERCENT = 100
ACCEPTED = {httpx2.codes.OK, httpx2.codes.ACCEPTED}

Event = Callable[[], object]


@dataclass
class Pushes:
    """Signed pushes to Keystone's own address at the router, and their answers.

    Attributes:
        refused: what came instead of an acceptance, and after how many seconds.
        deployments: the deployments that the accepted pushes were answered with.
        times: seconds until each answer.
    """

    project: Project
    every_s: float
    most: int
    sent: int = 0
    refused: list[tuple[str, float]] = field(default_factory=list)
    deployments: set[int] = field(default_factory=set)
    times: list[float] = field(default_factory=list)
    last_version: str = ""
    is_over: threading.Event = field(default_factory=threading.Event)

    def push_all(self) -> None:
        """Push at the interval until told to end, or until the wanted number is reached."""
        while self.sent < self.most and not self.is_over.wait(self.every_s):
            self.push()

    def push(self) -> None:
        """Commit a version and push it."""
        version = f"pushed {self.sent}"
        delivery = self.project.delivery(self.project.payload(self.project.commit(version)))
        self.sent += 1
        began = time.monotonic()
        try:
            answer = self.project.keystone.deliver_by_router(delivery, within_s=GITHUB_WAITS_S)
        except (httpx2.TransportError, http.client.HTTPException) as exc:
            self.refused.append((repr(exc), time.monotonic() - began))
            return
        took = time.monotonic() - began
        self.times.append(took)
        if answer.status_code not in ACCEPTED:
            self.refused.append((f"{answer.status_code}: {answer.text.strip()[:100]}", took))
            return
        self.last_version = version
        self.deployments |= {found["id"] for found in answer.json().get("deployments", ())}

    def lost(self) -> list[str]:
        """List the accepted pushes that did not end, and whether the newest one is not live."""
        keystone = self.project.keystone
        views = [keystone.deployment(each) for each in sorted(self.deployments)]
        found = [
            f"deployment {view['id']}: {view['state']}, {view['reason']}"
            for view in views
            if view["state"] in FAILED
        ]
        serves = self.project.answer()
        if serves != self.last_version:
            found.append(f"it serves {serves!r}, not {self.last_version!r}")
        return found


FAILED = {"queued", "running", "failure", "error", "cancelled"}


@dataclass(frozen=True)
class Seen:
    """The results of one run."""

    events: Mapping[str, int]
    load: Load
    crowds: Sequence[Crowd]
    pushes: Pushes
    lost: Sequence[str]

    @property
    def hasty_refusals(self) -> list[str]:
        """The pushes that were refused although they had not waited for as long as they may."""
        return [each for each, took in self.pushes.refused if took < REQUESTS_WAIT_S]

    @property
    def failures(self) -> list[str]:
        """Every failed request, refused push and lost push, as sentences."""
        wrk = sum(crowd.failed for crowd in self.crowds)
        return [
            *self.load.failures,
            *([f"wrk: {wrk} requests"] if wrk else []),
            *(f"push refused: {each} ({took:.1f} s)" for each, took in self.pushes.refused),
            *(f"push lost: {each}" for each in self.lost),
        ]


def run() -> bool:
    """Measure, print, and say whether nothing failed."""
    percent = int(os.environ.get("RESTARTS") or ALL_PERCENT)
    counts = {name: max(1, count * percent // ALL_PERCENT) for name, count in COUNTS.items()}
    pushes = max(10, PUSHES * percent // ALL_PERCENT)
    with installed() as place:
        checkout = Checkout(place.make_folder("keystone"))
        with standing(by_router=True, program=checkout.program) as stand:
            more = {"upgraded": upgrades(stand, checkout)}
            seen = measure(stand, counts, pushes=pushes, crowd=True, more=more)
    show_all(seen)
    return not seen.failures


def upgrades(stand: Stand, checkout: Checkout) -> Event:
    """Give the event that changes the code, the first time with the schema, and upgrades."""
    numbers = itertools.count()

    def upgrade() -> None:
        number = next(numbers)
        checkout.touch(f"change {number}")
        if number == 0:
            checkout.add_migration(compatible=True)
        done = stand.keystone.run("upgrade", within_s=SETTLED_WITHIN_S)
        assert done.returncode == 0, done.stdout + done.stderr

    return upgrade


def show_all(seen: Seen) -> None:
    """Print what happened and what was seen meanwhile."""
    show("What happened", ["", "times"], [[name, str(n)] for name, n in seen.events.items()])
    load, pushes = seen.load, seen.pushes
    kinds = Counter(failure.partition(":")[0] for failure in seen.failures)
    quick = [ms(percentile(load.times, 50)), ms(percentile(load.times, 99))]
    answers = [ms(percentile(pushes.times, 50)), ms(percentile(pushes.times, 99))]
    show(
        "Meanwhile",
        ["", "requests", "failed", "p50", "p99 ms"],
        [
            ["visitors of every kind", str(load.requests), str(len(load.failures)), *quick],
            *(
                ["wrk, keep-alive", str(crowd.requests), str(crowd.failed), crowd.p50, crowd.p99]
                for crowd in seen.crowds
            ),
            ["signed pushes", str(pushes.sent), str(len(pushes.refused)), *answers],
        ],
    )
    say(f"\n  failed, refused or lost: {len(seen.failures)} (goal: 0) {dict(kinds) or ''}")
    for failure in seen.failures[:20]:
        say(f"  {failure}")


def measure(
    stand: Stand,
    counts: Mapping[str, int],
    *,
    pushes: int,
    crowd: bool,
    slow_ms: int = SLOW_MS,
    more: Mapping[str, Event] | None = None,
) -> Seen:
    """Let each event happen as often as told, one after the other, while requests arrive.

    Args:
        more: further events by their names, which `counts` counts too.
    """
    visited_app, pushed_app = stand.project("visited"), stand.project("pushed")
    for project in (visited_app, pushed_app):
        assert project.deploy("version 0")["state"] == "success"
    swaps = iter(range(1, counts.get("swapped", 0) + 1))
    events: dict[str, Event] = {
        "stopped and started": stand.keystone.restart,
        "killed": stand.keystone.kill_and_start,
        "router reloaded": stand.keystone.reload_router,
        "swapped": lambda: _swap(stand, visited_app, f"version {next(swaps)}"),
        **(more or {}),
    }
    happened: Counter[str] = Counter()
    with ExitStack() as stack:
        load = stack.enter_context(visited(visited_app.port, slow_ms=slow_ms))
        crowds = [stack.enter_context(crowded(visited_app.port))] if crowd else []
        sent = stack.enter_context(_pushing(pushed_app, pushes))
        for name in _mixed(counts):
            events[name]()
            happened[name] += 1
        until(lambda: sent.sent >= pushes, timeout=SETTLED_WITHIN_S * 4, what="all pushes are sent")
    until(
        lambda: all(each["state"] in OVER for each in stand.keystone.deployments()),
        timeout=SETTLED_WITHIN_S,
        what="every deployment has ended",
        pause_s=1,
    )
    return Seen(happened, load, crowds, sent, sent.lost())


def _mixed(counts: Mapping[str, int]) -> Iterator[str]:
    """Give each name as often as told, spread evenly."""
    places = [
        ((number + 0.5) / count, name) for name, count in counts.items() for number in range(count)
    ]
    return (name for _, name in sorted(places))


@contextmanager
def _pushing(project: Project, count: int) -> Iterator[Pushes]:
    pushes = Pushes(project, every_s=0.2, most=count)
    thread = threading.Thread(target=pushes.push_all)
    thread.start()
    try:
        yield pushes
    finally:
        pushes.is_over.set()
        thread.join(GITHUB_WAITS_S + 10)


def _swap(stand: Stand, project: Project, version: str) -> None:
    """Deploy a version by the API; Keystone may be told to stop at any moment, but not here."""
    sha = project.commit(version)
    queued = project.push(sha)
    over = stand.wait_for_retired(queued["id"])
    assert over["state"] == "success", over["reason"]
    assert project.answer() == version
