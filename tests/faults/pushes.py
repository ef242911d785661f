"""Patterns of pushes that arrive during a fault, delivered as GitHub would."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx2

from tests.acceptance.payloads import Delivery
from tests.acceptance.project import Project, building

PAUSE_S = 0.05
LATE_MS = 600  # how long an app waits before it listens, so that the fault meets its health check
COPIES = 10


@dataclass
class Sent:
    """One delivery and its answer; GitHub never repeats a delivery by itself.

    Attributes:
        status: the HTTP status, or None when the connection broke.
        deployments: the ids in the answer.
    """

    app: str
    commit_sha: str
    pushed_at: int
    delivery: Delivery
    status: int | None = None
    deployments: tuple[int, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether Keystone accepted the delivery."""
        return self.status == httpx2.codes.ACCEPTED


@dataclass
class Pusher:
    """Commits to repositories and delivers the pushes.

    Attributes:
        slow_at: the step that the pushed version slows down, so that the fault can meet it there.
        behaviour: the defect of the pushed version.
    """

    projects: Sequence[Project]
    dice: random.Random = field(default_factory=random.SystemRandom)
    slow_at: str = ""
    behaviour: str = ""
    sent: list[Sent] = field(default_factory=list)

    def commit(self, project: Project) -> Sent:
        """Make a commit, and the delivery for its push."""
        version = f"{self.dice.getrandbits(64):016x}"
        sha = project.commit(
            version,
            behaviour=self.behaviour or _late(self.slow_at),
            dockerfile=building(("sleep", "1")) if self.slow_at == "build" else None,
        )
        payload = project.payload(sha)
        return Sent(project.name, sha, payload.pushed_at, project.delivery(payload))

    def deliver(self, *sent: Sent) -> None:
        """Send a delivery, and record the answer."""
        for one in sent:
            self.sent.append(one)
            try:
                answer = self.projects[0].keystone.deliver(one.delivery)
            except httpx2.TransportError:
                continue
            one.status = answer.status_code
            if answer.is_success:
                one.deployments = tuple(d["id"] for d in answer.json().get("deployments", ()))

    def refused(self) -> list[str]:
        """List the pushes that Keystone neither accepted nor knew already."""
        known = {httpx2.codes.OK, httpx2.codes.ACCEPTED}
        return [
            f"the push {sent.commit_sha[:7]} of {sent.app} was answered with {sent.status}"
            for sent in self.sent
            if sent.status not in known
        ]

    def deliver_at_once(self, sent: Sequence[Sent]) -> None:
        """Send all of these deliveries at the same time."""
        with ThreadPoolExecutor(len(sent)) as pool:
            list(pool.map(self.deliver, sent))


def _late(slow_at: str) -> str:
    return f"late {LATE_MS}" if slow_at == "health_check" else ""


def one_push(pusher: Pusher) -> None:
    """Push once."""
    pusher.deliver(pusher.commit(pusher.projects[0]))


def three_pushes(pusher: Pusher) -> None:
    """Push three times to one app in quick succession."""
    for _ in range(3):
        pusher.deliver(pusher.commit(pusher.projects[0]))
        time.sleep(PAUSE_S)


def several_apps(pusher: Pusher) -> None:
    """Push to three apps."""
    pusher.deliver(*[pusher.commit(project) for project in pusher.projects[:3]])


def duplicates(pusher: Pusher) -> None:
    """Push once, and deliver the push ten times at once: as redeliveries and as replays."""
    first = pusher.commit(pusher.projects[0])
    again = [
        Sent(
            first.app,
            first.commit_sha,
            first.pushed_at,
            first.delivery if number % 2 else Delivery(first.delivery.body, first.delivery.secret),
        )
        for number in range(1, COPIES)
    ]
    pusher.deliver_at_once([first, *again])


def out_of_order(pusher: Pusher) -> None:
    """Push four times to one app, and deliver the pushes in random order."""
    made = [pusher.commit(pusher.projects[0]) for _ in range(4)]
    pusher.dice.shuffle(made)
    for sent in made:
        pusher.deliver(sent)
        time.sleep(pusher.dice.uniform(0, PAUSE_S))


Pattern = Callable[[Pusher], None]
PATTERNS: dict[str, Pattern] = {
    "one push": one_push,
    "three pushes": three_pushes,
    "several apps": several_apps,
    "duplicates": duplicates,
    "out of order": out_of_order,
}
