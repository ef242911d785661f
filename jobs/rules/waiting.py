"""Says in words what a queued deployment waits for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.states import Lane

NOUNS = {Lane.BUILD: "build", Lane.QUICK: "rollback"}
MOST_NAMED = 3
SOON = "a worker takes it in a moment"
NO_WORKER = "no worker is running; `keystone doctor` says why"
NO_REDIS = "Redis does not answer, so no worker can take it"
UNKNOWN = "the watcher is silent, so it is unknown whether a worker runs"


@dataclass(frozen=True)
class Busy:
    """A deployment that a worker is busy with."""

    app: str
    number: int
    lane: Lane
    is_over: bool  # it has ended, and its worker still retires the old release

    @property
    def words(self) -> str:
        """What another deployment of its app waits for."""
        return (
            f"deployment #{self.number} of this app is retiring the old release"
            if self.is_over
            else f"deployment #{self.number} of this app is running"
        )


def for_a_worker(
    lane: Lane, *, before: int, workers: int | None, busy: Sequence[Busy], has_redis: bool = True
) -> str:
    """Say what the next deployment of an app waits for, if no other one of that app runs.

    Args:
        before: how many of its lane are before it.
        workers: the number of live workers that build; None: unknown.
        busy: what all workers are busy with.
        has_redis: whether Redis answers.
    """
    if not has_redis:
        return NO_REDIS
    if workers == 0 and not busy:
        return NO_WORKER
    noun = NOUNS[lane]
    ahead = [f"{before} {noun}{' is' if before == 1 else 's are'} before it"] if before else []
    if workers is None:
        return "; ".join([*ahead, UNKNOWN])
    return "; ".join([*ahead, *_busy(lane, workers, busy)]) or SOON


def _busy(lane: Lane, workers: int, busy: Sequence[Busy]) -> list[str]:
    """Say that all workers are busy that could take a deployment of a lane, if they are."""
    builds = [each for each in busy if each.lane is Lane.BUILD]
    quick = [each for each in busy if each.lane is Lane.QUICK]
    # One worker more takes what needs no build, and nothing else.
    seats = workers if lane is Lane.BUILD else workers + 1
    taken = [*builds, *(quick[1:] if lane is Lane.BUILD else quick)]
    if len(taken) < seats:
        return []
    who = {1: "the worker is", 2: "both workers are"}.get(seats, f"all {seats} workers are")
    return [f"{who} busy with {_listed([f'{each.app} #{each.number}' for each in taken])}"]


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST_NAMED:
        names = [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
