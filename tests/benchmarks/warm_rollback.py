"""Measures a rollback to a warm container: from the request to the old release's first answer.

ROUNDS=n sets another number of rollbacks than 20. They alternate between two releases, each of
which is warm while the other serves. A row for rollbacks to a release that is not warm compares.
"""

import http.client
import os
import time
from dataclasses import dataclass, field

from tests.acceptance.keystone import Json
from tests.acceptance.project import Project
from tests.benchmarks.push_to_live import seconds_between
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, ms, percentile, say, show

GOAL_S = 0.2
STEPS = ("queued", "start", "health_check", "switch")
PAUSE_S = 0.002
SEEN_WITHIN_S = 120.0


@dataclass
class Times:
    """The measured times in seconds."""

    seen: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)  # by the API
    steps: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STEPS})


def run() -> bool:
    """Measure, print, and say whether the goal was reached."""
    rounds = int(os.environ.get("ROUNDS", "20"))
    with standing() as stand:
        warm = measure(stand, rounds=rounds, warm_minutes=60)
        cold = measure(stand, rounds=max(1, rounds // 4), warm_minutes=0)
    ways = {"warm": warm, "not warm": cold}
    show(
        f"From POST …/rollback to the old release's first answer, {rounds} rollbacks (ms)",
        ["", "median", "min", "p90", "max"],
        [
            [name, *(ms(f(times.seen)) for f in (median, min, lambda v: percentile(v, 90), max))]
            for name, times in ways.items()
        ],
    )
    show(
        "Where the time goes (ms, median)",
        ["", *STEPS, "the API's answer"],
        [
            [name, *(ms(median(times.steps[step])) for step in STEPS), ms(median(times.answered))]
            for name, times in ways.items()
        ],
    )
    reached = median(warm.seen)
    say(f"\n  to a warm container, median: {ms(reached)} ms (goal: at most {ms(GOAL_S)})")
    return reached <= GOAL_S


def measure(stand: Stand, *, rounds: int, warm_minutes: int) -> Times:
    """Roll one app back and forth; the first time does not count."""
    project = stand.project(f"back-{warm_minutes}", warm_minutes=warm_minutes)
    for version in ("version 1", "version 2"):
        queued = project.push(project.commit(version))
        assert stand.wait_for_retired(queued["id"])["state"] == "success"
    times = Times()
    for number in range(rounds + 1):
        roll_back(stand, project, number % 2 + 1, times if number else Times())
    return times


def roll_back(stand: Stand, project: Project, release: int, times: Times) -> Json:
    """Roll back to a release while a visitor asks for the version, and record the times."""
    visitor = http.client.HTTPConnection("127.0.0.1", project.port, timeout=60)
    wanted = f"version {release}"
    began = time.monotonic()
    path = f"/api/apps/{project.name}/rollback"
    queued = stand.keystone.api("POST", path, {"release": release})
    times.answered.append(time.monotonic() - began)
    while _version(visitor) != wanted:
        assert time.monotonic() - began < SEEN_WITHIN_S, f"{wanted} does not answer"
        time.sleep(PAUSE_S)
    times.seen.append(time.monotonic() - began)
    visitor.close()
    over = stand.wait_for_retired(queued["id"])
    assert over["state"] == "success", over["reason"]
    times.steps["queued"].append(seconds_between(over, "queued_at", "started_at"))
    for step in over["steps"]:
        if step["name"] in times.steps:
            times.steps[step["name"]].append(seconds_between(step, "started_at", "ended_at"))
    return over


def _version(visitor: http.client.HTTPConnection) -> str:
    visitor.request("GET", "/version")
    return visitor.getresponse().read().decode()
