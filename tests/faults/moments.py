"""When a fault strikes: as soon as a deployment is seen at a step."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.faults.records import Records

LOOK_EVERY_S = 0.001
SEEN_WITHIN_S = 60.0
STEPS = ("checkout", "build", "release", "start", "health_check", "switch", "retire")


@dataclass(frozen=True)
class Moment:
    """A step of an app's next deployment, with a delay.

    Attributes:
        after: the id of the last deployment before the round.
        delay_s: the delay after the step is seen.
    """

    app: str
    step: str
    after: int
    delay_s: float = 0.0

    def __str__(self) -> str:
        """Give the step's name."""
        return self.step


class MissedError(Exception):
    """The fault hit nothing, so its round proves nothing."""


@contextmanager
def striking(
    records: Records,
    moment: Moment,
    strike: Callable[[], None],
    *,
    within_s: float = SEEN_WITHIN_S,
) -> Iterator[None]:
    """Let the fault strike once while the block runs, or within that time after the block.

    Raises:
        MissedError: the moment never came, or the strike itself raised this.
        Exception: any other error of the strike.
    """
    problems: list[BaseException] = []
    given_up = threading.Event()

    def watch() -> None:
        try:
            _wait_for(records, moment, given_up)
            strike()
        except Exception as exc:  # noqa: BLE001 — raised again below, in the caller's thread
            problems.append(exc)

    thread = threading.Thread(target=watch, name=f"strike at {moment}")
    thread.start()
    try:
        yield
        thread.join(within_s)
    finally:
        given_up.set()
        thread.join(SEEN_WITHIN_S)
    if problems:
        raise problems[0]


def _wait_for(records: Records, moment: Moment, given_up: threading.Event) -> None:
    """Wait until the step has begun.

    Raises:
        MissedError: all deployments ended without that step.
    """
    with records.open() as database:
        while not given_up.wait(LOOK_EVERY_S):
            (count,) = database.execute(
                "SELECT count(*) FROM steps s JOIN deployments d ON d.id = s.deployment_id "
                "JOIN apps a ON a.id = d.app_id WHERE d.id > ? AND a.name = ? AND s.name = ?",
                (moment.after, moment.app, moment.step),
            ).fetchone()
            if count:
                time.sleep(moment.delay_s)
                return
    raise MissedError(f"no deployment of {moment.app} came to {moment.step}")
