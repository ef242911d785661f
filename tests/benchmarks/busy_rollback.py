"""Measures rollbacks while all workers build, and as many builds wait behind those.

ROUNDS=n sets another number of rollbacks than 6, BUILD_S=n another length of the builds than 40 s.
Without a lane of its own, a rollback would wait until the builds that were queued before it end.
"""

import os
import time
from pathlib import Path

from jobs.system.proc import children_of
from tests.acceptance.keystone import Keystone, until
from tests.acceptance.project import Project, building
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, ms, say, show
from tests.benchmarks.warm_rollback import Times, roll_back

WORKERS = 2
GOAL_S = 10.0  # on a busy machine; a tenth of what the builds take
MIB = 1024


def run() -> bool:
    """Measure, print, and say whether the goal was reached."""
    rounds, build_s = (
        int(os.environ.get(name, default)) for name, default in (("ROUNDS", "6"), ("BUILD_S", "40"))
    )
    with standing() as stand:
        idle, busy, built_s = measure(stand, rounds=rounds, build_s=build_s)
        held = {part: memory_mb(stand.keystone, part) for part in ("worker", "quick-worker")}
    show(
        f"From POST …/rollback to the old release's first answer, {rounds} rollbacks (ms)",
        ["", "median", "max", "of which queued"],
        [
            [name, ms(median(each.seen)), ms(max(each.seen)), ms(median(each.steps["queued"]))]
            for name, each in {"no build runs": idle, "all workers build": busy}.items()
        ],
    )
    say(f"\n  the last of the builds ended {built_s:.0f} s after the first rollback was requested")
    say(f"  memory (PSS, MiB, with the child that waits for work): {held}")
    return max(busy.seen) <= GOAL_S


def measure(stand: Stand, *, rounds: int, build_s: int) -> tuple[Times, Times, float]:
    """Roll an app back and forth without builds and during builds; give both, and their length."""
    project = stand.project("back")
    for version in ("version 1", "version 2"):
        assert stand.wait_for_retired(project.push(project.commit(version))["id"])["state"]
    builders = [stand.project(f"builds-{number}") for number in range(2 * WORKERS)]
    idle, busy = Times(), Times()
    _roll(stand, project, rounds, idle)
    builds = [
        each.push(each.commit("built", dockerfile=building(("sleep", str(build_s)))))["id"]
        for each in builders
    ]
    until(
        lambda: (
            sum(stand.keystone.deployment(each)["state"] == "running" for each in builds) == WORKERS
        ),
        timeout=60,
        what="all workers build",
    )
    begun = time.monotonic()
    _roll(stand, project, rounds, busy)
    states = [stand.keystone.deployment(each)["state"] for each in builds]
    assert states.count("running") == WORKERS, "the builds ended during the measurement"
    ended = [stand.keystone.wait_for(each, timeout=4 * build_s + 120) for each in builds]
    assert {each["state"] for each in ended} == {"success"}
    return idle, busy, time.monotonic() - begun


def memory_mb(keystone: Keystone, part: str) -> list[int]:
    """Give the proportional memory of each process of a part, with its children."""
    return [sum(map(_pss_kb, (pid, *children_of(pid)))) // MIB for pid in keystone.parts(part)]


def _roll(stand: Stand, project: Project, rounds: int, times: Times) -> None:
    for number in range(rounds):
        roll_back(stand, project, number % 2 + 1, times)


def _pss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
