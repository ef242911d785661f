"""Many simultaneous pushes, as after a GitHub outage: all are accepted, the newest go live."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import httpx2

from tests.faults.house import House
from tests.faults.pushes import Pusher, Sent
from tests.faults.verdict import Evidence, Verdict, judge

CONNECTIONS = 32
ANSWERED_WITHIN_S = 2.0  # for 99 % of them; GitHub waits for 10 s
SETTLED_WITHIN_S = 300.0
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Burst:
    """The result of a burst.

    Attributes:
        p99_s: the time within which 99 % of the deliveries were answered.
    """

    verdict: Verdict
    p99_s: float


def burst(house: House, *, pushes: int, seed: str) -> Burst:
    """Deliver that many pushes to all apps at once, in random order, and judge the result."""
    after, before = house.records.last_deployment(), house.records.live()
    dice = Random(seed)  # noqa: S311 — not for secrets
    pusher = Pusher(house.projects, dice)
    each = pushes // len(house.projects)
    made = [pusher.commit(project) for project in house.projects for _ in range(each)]
    dice.shuffle(made)
    times = sorted(_deliver_at_once(house, made))

    def evidence() -> Evidence:
        rows = house.records.deployments(after=after)
        return Evidence(made, rows, before, house.records.live(), house.left())

    deadline = time.monotonic() + SETTLED_WITHIN_S
    while (verdict := judge(evidence())).problems and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    verdict.lost += [f"a push was answered {sent.status}" for sent in made if not sent.is_accepted]
    return Burst(verdict, times[len(times) * 99 // 100])


def _deliver_at_once(house: House, made: Sequence[Sent]) -> Iterator[float]:
    """Deliver all over a few open connections, and give the time of each answer."""
    local = threading.local()
    clients: list[httpx2.Client] = []

    def connect() -> None:
        local.client = httpx2.Client(base_url=house.keystone.url, timeout=60, trust_env=False)
        clients.append(local.client)
        local.client.get("/healthz")

    def deliver(sent: Sent) -> float:
        begun = time.monotonic()
        delivery = sent.delivery
        answer = local.client.post(
            "/webhooks/github", content=delivery.body, headers=delivery.headers
        )
        sent.status = answer.status_code
        if answer.is_success:
            sent.deployments = tuple(each["id"] for each in answer.json()["deployments"])
        return time.monotonic() - begun

    with ThreadPoolExecutor(CONNECTIONS, initializer=connect) as pool:
        yield from pool.map(deliver, made)
    for client in clients:
        client.close()
