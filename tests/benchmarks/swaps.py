"""Many swaps under load: no request may fail; also measures how swaps slow requests down.

SWAPS=n sets another number of swaps than 50. An unhealthy version is pushed before the last swap.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass

from tests.acceptance.keystone import ANSWER_WITHIN_S, until
from tests.acceptance.project import Project
from tests.benchmarks.load import SLOW_MS, Crowd, Load, crowded, visited
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import ms, percentile, say, show

QUIET_S = 15.0


@dataclass(frozen=True)
class Seen:
    """The visitors' results in one period."""

    name: str
    load: Load
    crowd: Crowd | None

    @property
    def failures(self) -> list[str]:
        """The failures; those of `wrk` in one line."""
        failed = self.crowd.failed if self.crowd else 0
        return [*self.load.failures, *([f"wrk: {failed} requests"] if failed else [])]

    def rows(self) -> list[list[str]]:
        """Give the rows of the table."""
        load = self.load
        times = [ms(percentile(load.times, 50)), ms(percentile(load.times, 99))]
        counts = [str(load.requests), str(len(load.failures))]
        rows = [[f"{self.name}: every kind of visitor", *counts, *times]]
        if crowd := self.crowd:
            counts = [str(crowd.requests), str(crowd.failed)]
            rows.append([f"{self.name}: wrk, keep-alive", *counts, crowd.p50, crowd.p99])
        return rows


def run() -> bool:
    """Measure, print, and say whether all requests succeeded."""
    swaps = int(os.environ.get("SWAPS", "50"))
    with standing() as stand:
        seen = measure(stand, swaps=swaps, crowd=True)
    show(
        f"{swaps} swaps under load",
        ["", "requests", "failed", "p50", "p99 ms"],
        [row for each in seen for row in each.rows()],
    )
    failures = [failure for each in seen for failure in each.failures]
    say(f"\n  failed requests: {len(failures)} (goal: 0)")
    for failure in failures[:20]:
        say(f"  {failure}")
    return not failures


def measure(
    stand: Stand, *, swaps: int, crowd: bool, quiet_s: float = QUIET_S, slow_ms: int = SLOW_MS
) -> list[Seen]:
    """Measure the visitors first without swaps, then during the swaps."""
    project = stand.project("swapped")
    assert project.deploy("version 0")["state"] == "success"
    with ExitStack() as stack:
        quiet = _visit(stack, project, "quiet", crowd=crowd, slow_ms=slow_ms)
        time.sleep(quiet_s)
        until(lambda: quiet.load.times, timeout=ANSWER_WITHIN_S, what="somebody was answered")
    with ExitStack() as stack:
        busy = _visit(stack, project, "swaps", crowd=crowd, slow_ms=slow_ms)
        for number in range(1, swaps + 1):
            if number == swaps:
                _refuse(stand, project)
            _swap(stand, project, f"version {number}")
    return [quiet, busy]


def _visit(stack: ExitStack, project: Project, name: str, *, crowd: bool, slow_ms: int) -> Seen:
    load = stack.enter_context(visited(project.port, slow_ms=slow_ms))
    return Seen(name, load, stack.enter_context(crowded(project.port)) if crowd else None)


def _swap(stand: Stand, project: Project, version: str) -> None:
    queued = project.push(project.commit(version))
    over = stand.wait_for_retired(queued["id"])
    assert over["state"] == "success", over["reason"]
    assert project.answer() == version


def _refuse(stand: Stand, project: Project) -> None:
    """Push a version that fails its health check; the previous version keeps serving."""
    path = f"/api/apps/{project.name}"
    patience = stand.keystone.api("GET", path)["health_timeout_s"]
    stand.keystone.api("PATCH", path, {"health_timeout_s": 10})
    before = project.answer()
    over = project.deploy("unhealthy", behaviour="unhealthy")
    stand.keystone.api("PATCH", path, {"health_timeout_s": patience})
    assert over["state"] == "failure", over
    assert "503" in over["reason"], over["reason"]
    assert project.answer() == before
