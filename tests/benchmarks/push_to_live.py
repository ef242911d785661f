"""Measures from a push to its success, in turns with a plain shell script that does the same.

BASELINE=script uses another script than `plain-deploy.sh`, DOCKER=program another docker command,
ROUNDS=n another number of turns.
"""

import http.client
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import docker

from tests.acceptance.keystone import Json, until
from tests.acceptance.project import Project
from tests.benchmarks.stand import Stand, standing
from tests.benchmarks.tables import median, ms, percentile, say, show

GOAL = 0.85
PORT = 8000
STEPS = ("queued", "checkout", "build", "release", "start", "health_check", "switch")


@dataclass(frozen=True)
class Baseline:
    """The shell script, and the app's name in it."""

    script: Path
    docker: str
    state: Path
    app: str

    def deploy(self, url: str) -> float:
        """Run the script, and give the seconds that it reports until the new version was live."""
        finished = subprocess.run(
            [self.script, url, self.app, str(PORT)],
            env={**os.environ, "STATE": str(self.state), "DOCKER": self.docker},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = re.search(r"LIVE ([0-9.]+) ms", finished.stdout)
        assert finished.returncode == 0, f"{self.script}: {finished.stderr}"
        assert told, f"{self.script} does not say LIVE … ms: {finished.stdout}"
        return float(told[1]) / 1000


@dataclass
class Times:
    """The measured times in seconds."""

    plain: list[float] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)  # from queued_at to ended_at
    seen: list[float] = field(
        default_factory=list
    )  # from sending the push to the new version's first answer
    steps: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STEPS})

    @property
    def ratio(self) -> float:
        """The ratio of Keystone's median to the script's median."""
        return median(self.recorded) / median(self.plain)


def run() -> bool:
    """Measure, print, and say whether the goal was reached."""
    with standing() as stand, plain_way(stand.folder) as baseline:
        times = measure(stand, baseline, rounds=int(os.environ.get("ROUNDS", "15")))
    ways = {
        "plain shell": times.plain,
        "Keystone, webhook to success": times.recorded,
        "Keystone, as a visitor sees it": times.seen,
    }
    show(
        f"From push to live, {len(times.plain)} one-layer changes each (ms)",
        ["", "median", "min", "p90"],
        [[name, ms(median(v)), ms(min(v)), ms(percentile(v, 90))] for name, v in ways.items()],
    )
    show(
        "Where Keystone's time goes (ms)",
        ["step", "median", "min"],
        [[name, ms(median(found)), ms(min(found))] for name, found in times.steps.items()],
    )
    say(f"\n  Keystone / plain shell: {times.ratio:.2f} (goal: at most {GOAL})")
    return times.ratio <= GOAL


def measure(stand: Stand, baseline: Baseline | None, *, rounds: int) -> Times:
    """Deploy one change after the other in both ways; the first of each does not count."""
    project = stand.project("pace")
    times = Times()
    for number in range(rounds + 1):
        found = times if number else Times()
        if baseline is not None:
            project.commit(f"plain {number}")
            found.plain.append(baseline.deploy(project.repo.url))
        deploy(stand, project, f"keystone {number}", found)
    return times


@contextmanager
def plain_way(folder: Path) -> Iterator[Baseline]:
    """Give the script to compare with; remove its containers and images at the end."""
    here = Path(__file__).with_name("plain-deploy.sh")
    script = Path(os.environ.get("BASELINE", here)).absolute()
    app, state = f"bench-{secrets.token_hex(4)}", folder / "plain"
    state.mkdir()
    client = docker.from_env()
    try:
        yield Baseline(script, os.environ.get("DOCKER", "/usr/bin/docker"), state, app)
    finally:
        ours = {"label": f"ks.app={app}"}
        for container in client.api.containers(all=True, filters=ours):
            client.api.remove_container(container["Id"], force=True)
        for image in client.api.images(filters=ours):
            client.api.remove_image(image["Id"], force=True)
        client.close()


def deploy(stand: Stand, project: Project, version: str, times: Times) -> None:
    """Push one change, and record its times."""
    sha = project.commit(version)
    delivery = project.delivery(project.payload(sha))
    began = time.monotonic()
    answer = stand.keystone.deliver(delivery)
    assert answer.status_code == 202, answer.text
    (queued,) = answer.json()["deployments"]
    _wait_until_seen(project.port, version)
    times.seen.append(time.monotonic() - began)
    over = stand.wait_for_retired(queued["id"])
    assert over["state"] == "success", over["reason"]
    times.recorded.append(seconds_between(over, "queued_at", "ended_at"))
    times.steps["queued"].append(seconds_between(over, "queued_at", "started_at"))
    for step in over["steps"]:
        if step["name"] in times.steps:
            times.steps[step["name"]].append(seconds_between(step, "started_at", "ended_at"))


def _wait_until_seen(port: int, version: str) -> None:
    """Request the app as a visitor would, every few milliseconds and at little cost."""
    visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def is_there() -> bool:
        visitor.request("GET", "/version")
        return visitor.getresponse().read().decode() == version

    until(is_there, timeout=120, what=f"{version!r} answers", pause_s=0.01)
    visitor.close()


def seconds_between(row: Json, first: str, last: str) -> float:
    """Give the seconds between two times of a deployment or a step."""
    span = datetime.fromisoformat(row[last]) - datetime.fromisoformat(row[first])
    return span.total_seconds()
