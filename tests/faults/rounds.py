"""One round: pushes arrive while a fault strikes, and the resulting state is judged."""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain

from tests.faults.house import House
from tests.faults.moments import STEPS, MissedError, Moment
from tests.faults.pushes import PATTERNS, Pusher
from tests.faults.strikes import Fault
from tests.faults.verdict import Evidence, Verdict, judge
from tests.faults.visitors import lingering

SETTLED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.25
LATEST_IN_STEP_S = 0.3
LINGERS_S = 5.0
FETCH_TAKES_S = 1.0
# A round with a slow fault takes half a minute or more: one round in this many has such a fault.
SLOW_ONE_IN = 16
REQUESTS_WAIT_S = 8.5  # at the router: nine attempts a second apart
TRIES = 3


@dataclass(frozen=True)
class Round:
    """The random choices for one round."""

    number: int
    fault: str
    step: str
    delay_s: float
    pattern: str
    seed: str

    def __str__(self) -> str:
        """Describe the round."""
        return (
            f"round {self.number}: {self.fault} at {self.step}+{self.delay_s:.3f} s, {self.pattern}"
        )


def draw(faults: Mapping[str, Fault], *, seed: str, count: int) -> Iterator[Round]:
    """Draw rounds. The same seed gives the same rounds; a higher count only appends rounds.

    Faults are drawn from a shuffled pile that contains each as often as its weight; the steps of
    each fault are drawn from a shuffled pile too.
    """
    dice = random.Random(seed)  # noqa: S311 — not for secrets
    quick, slow = (
        _dealt([name for name in faults for _ in range(_weight(faults[name], slow=slow))], dice)
        for slow in (False, True)
    )
    steps = {name: _dealt(STEPS, dice) for name in faults}
    for number in range(count):
        is_slow = number % SLOW_ONE_IN == SLOW_ONE_IN // 2
        fault = next(chain(slow, quick) if is_slow else chain(quick, slow))
        yield Round(
            number,
            fault,
            step=next(steps[fault]),
            delay_s=dice.choice((0.0, dice.uniform(0, LATEST_IN_STEP_S))),
            pattern=dice.choice(list(PATTERNS)),
            seed=f"{seed}/{number}",
        )


def _weight(fault: Fault, *, slow: bool) -> int:
    return fault.weight if fault.is_slow is slow else 0


def _dealt(cards: Sequence[str], dice: random.Random) -> Iterator[str]:
    """Shuffle all cards and give them one by one, for ever."""
    while cards:
        yield from dice.sample(cards, len(cards))


def play(house: House, fault: Fault, drawn: Round, *, tries: int = TRIES) -> Verdict:
    """Play one round and judge it; if its fault hit nothing, repeat it without a delay."""
    try:
        verdict = _play(house, fault, drawn)
    except AssertionError as exc:
        # An expected state was not reached in time.
        return Verdict(stuck=[str(exc)])
    if not (verdict.has_only_missed and tries > 1):
        return verdict
    again = replace(drawn, delay_s=0.0, seed=f"{drawn.seed}, again")
    return play(house, fault, again, tries=tries - 1)


def _play(house: House, fault: Fault, drawn: Round) -> Verdict:
    house.wait_until_whole()
    begun, before = time.monotonic(), house.records.live()
    house.keystone.longest_absence_s = 0.0
    dice = random.Random(drawn.seed)  # noqa: S311
    pusher = Pusher(
        dice.sample(house.projects, len(house.projects)),
        dice,
        slow_at=drawn.step,
        behaviour=fault.behaviour,
    )
    app = pusher.projects[0]
    moment = Moment(app.name, drawn.step, house.records.last_deployment(), drawn.delay_s)
    cut: list[str] = []
    missed: list[str] = []
    with _noted(missed), ExitStack() as stack:
        if drawn.step == "retire":
            cut = stack.enter_context(lingering(app, seconds=LINGERS_S))
        if drawn.step == "checkout":
            stack.enter_context(_slow_fetches(house))
        stack.enter_context(fault.strike(house, moment))
        PATTERNS[drawn.pattern](pusher)
    house.wait_until_whole()
    pardoned_until = time.monotonic() if fault.cuts_visitors else begun
    # On a busy machine, Keystone may need longer to come back than requests wait.
    may_refuse = fault.refuses_pushes or house.keystone.longest_absence_s > REQUESTS_WAIT_S
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        failures = house.visitors.failed_since(pardoned_until)
        verdict = judge(
            Evidence(
                sent=pusher.sent,
                rows=house.records.deployments(after=moment.after),
                before=before,
                live=house.records.live(),
                left=house.left(),
                failed=[
                    *map(str, failures),
                    *([] if fault.cuts_visitors else cut),
                    *([] if may_refuse else pusher.refused()),
                ],
                excuse=fault.excuse,
            )
        )
        if not (verdict.stuck or verdict.lost) or time.monotonic() > deadline:
            return replace(verdict, missed=missed)
        time.sleep(LOOK_EVERY_S)


@contextmanager
def _noted(missed: list[str]) -> Iterator[None]:
    """Record that the fault hit nothing; the pushes must succeed all the same."""
    try:
        yield
    except MissedError as exc:
        missed.append(str(exc))


@contextmanager
def _slow_fetches(house: House) -> Iterator[None]:
    """Slow down the git server, so that the fault can meet a checkout."""
    house.git.slow_gate.clear()
    timer = threading.Timer(FETCH_TAKES_S, house.git.slow_gate.set)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        house.git.slow_gate.set()
