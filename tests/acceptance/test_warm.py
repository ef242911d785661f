"""A replaced release is kept warm: its old assets stay, and a rollback to it needs no start."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.project import Project, add_project
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

WITHIN_S = 90.0


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app whose assets are named after their version; a second version is live."""
    settings = {"asset_paths": ["/assets/*"], "warm_minutes": 30}
    project = add_project(keystone, git_server, "warm", **settings)
    assert project.deploy("one")["state"] == "success"
    assert project.deploy("two")["state"] == "success"
    wait_until_retired(project)
    return project


def wait_until_retired(project: Project) -> None:
    def is_retired() -> bool:
        newest = project.keystone.deployments(project.name)[0]
        steps = {step["name"]: step["ended_at"] for step in newest["steps"]}
        return bool(steps.get("retire"))

    until(is_retired, timeout=WITHIN_S, what="the replaced release is retired")


def get(project: Project, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", project.port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def play_the_clock(project: Project, by: timedelta) -> None:
    """Have the warm container's time be over that much sooner."""
    warm_until = (datetime.now(UTC) + timedelta(minutes=30) - by).replace(tzinfo=None)
    path = project.keystone.data_dir / "keystone.db"
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        database.execute(
            "UPDATE apps SET warm_until = ?, trial_ends_at = NULL WHERE name = ?",
            (warm_until.isoformat(" "), project.name),
        )


def roll_back(project: Project, release: int) -> Json:
    path = f"/api/apps/{project.name}/rollback"
    queued = project.keystone.api("POST", path, {"release": release})
    return project.keystone.wait_for(queued["id"])


@dataclass
class Readers:
    """Visitors who ask for assets of both releases; every answer should be 200."""

    asked: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def readers(project: Project, *assets: str) -> Iterator[Readers]:
    seen, over = Readers(), threading.Event()

    def read(path: str) -> None:
        while not over.wait(0.002):
            try:
                status, _ = get(project, path)
            except OSError as exc:
                seen.failures.append(f"{path}: {exc!r}")
                continue
            seen.asked += 1
            if status != 200:
                seen.failures.append(f"{path}: {status}")

    threads = [threading.Thread(target=read, args=(f"/assets/{name}",)) for name in assets]
    for thread in threads:
        thread.start()
    try:
        until(lambda: seen.asked > 20, timeout=WITHIN_S, what="assets were asked for")
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(timeout=WITHIN_S)


def test_old_assets_are_there_and_new_ones_too(web: Project) -> None:
    assert get(web, "/assets/one") == (200, "one")
    assert get(web, "/assets/two") == (200, "two")
    assert get(web, "/assets/none")[0] == 404
    assert web.answer() == "two"


def test_it_is_told_which_release_is_warm_until_when(web: Project) -> None:
    view = web.view()
    assert (view["live_release"], view["warm_release"]) == (2, 1)
    left = datetime.fromisoformat(view["warm_until"]) - datetime.now(UTC)
    assert timedelta() < left <= timedelta(minutes=30)
    assert "v1 is warm until" in web.keystone.run("status").stdout
    assert "v1 of warm until" in web.keystone.run("doctor").stdout


def test_a_rollback_takes_the_warm_container_and_no_asset_is_missed(
    web: Project, machine: Machine
) -> None:
    warm = {each.id: each.status for each in machine.containers("warm")}
    with readers(web, "one", "two") as seen:
        for release in (1, 2, 1, 2):
            over = roll_back(web, release)
            assert over["state"] == "success", over["reason"]
            assert web.answer() == {1: "one", 2: "two"}[release]
            wait_until_retired(web)
    assert seen.failures == []
    assert {each.id: each.status for each in machine.containers("warm")} == warm
    assert "without a start" in web.keystone.transcript(over["id"])


@pytest.mark.parametrize("part", ["router", "watcher", "worker"])
def test_it_outlives_the_kill_of_a_part(web: Project, part: str) -> None:
    web.keystone.kill_part(part)
    until(
        lambda: _is(lambda: get(web, "/assets/one") == (200, "one")),
        timeout=WITHIN_S,
        what="the old asset is there",
    )
    assert get(web, "/assets/two") == (200, "two")


def test_a_warm_container_that_dies_is_cleared_away(web: Project, machine: Machine) -> None:
    live = web.keystone.container("warm")["id"]
    (warm,) = [each for each in machine.containers("warm") if each.id != live]
    with suppress(ProcessLookupError):
        os.kill(warm.attrs["State"]["Pid"], signal.SIGKILL)
    until(
        lambda: web.view()["warm_release"] is None,
        timeout=WITHIN_S,
        what="no release is warm",
    )
    assert get(web, "/assets/one")[0] == 404
    over = roll_back(web, 1)
    assert over["state"] == "success", over["reason"]
    assert web.answer() == "one"


def test_after_its_time_it_is_gone(web: Project, machine: Machine) -> None:
    wait_until_retired(web)
    assert get(web, "/assets/two") == (200, "two")
    play_the_clock(web, timedelta(minutes=31))
    until(lambda: len(machine.containers("warm")) == 1, timeout=WITHIN_S, what="it is removed")
    assert get(web, "/assets/two")[0] == 404
    assert web.view()["warm_release"] is None
    assert web.answer() == "one"


def _is(ask: Callable[[], bool]) -> bool:
    with suppress(OSError):
        return ask()
    return False
