"""Any process may be killed at any time, and nothing is lost or stuck."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.conftest import prepared, running
from tests.acceptance.keystone import Keystone, children_of, until
from tests.acceptance.project import Nap, Project, add_project
from tests.apart import Place
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

MENDED_WITHIN_S = 60.0
ENDS_WITHIN_S = 60.0
ASLEEP_WITHIN_S = 120.0
RESTARTED_WITHIN_S = 120.0
# GitHub must get its answer within this time.
TAKEN_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A separate Keystone for these tests to kill."""
    yield from running(request, prepared(place, github))


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """A live app."""
    project = add_project(keystone, git_server, "web")
    assert project.deploy("before")["state"] == "success"
    return project


@pytest.fixture(scope="module")
def ill(keystone: Keystone, git_server: GitServer) -> Project:
    """Another live app, with a health timeout of two minutes."""
    project = add_project(keystone, git_server, "ill", health_timeout_s=120)
    assert project.deploy("well")["state"] == "success"
    return project


# --- Redis -----------------------------------------------------------------------------------


@contextmanager
def redis_down(keystone: Keystone) -> Iterator[None]:
    """Kill Redis, and prevent its restart for the length of the block."""
    os.kill(keystone.pid, signal.SIGSTOP)
    try:
        keystone.kill_part("redis")
        until(lambda: not keystone.parts("redis"), timeout=ENDS_WITHIN_S, what="Redis is down")
        yield
    finally:
        os.kill(keystone.pid, signal.SIGCONT)


def test_a_push_while_redis_is_down_is_accepted_and_deployed_later(
    keystone: Keystone, web: Project
) -> None:
    sha = web.commit("without Redis")
    with redis_down(keystone):
        begun = time.monotonic()
        queued = web.push(sha)
        assert time.monotonic() - begun < TAKEN_WITHIN_S
        time.sleep(1)
        assert keystone.deployment(queued["id"])["state"] == "queued"
    over = keystone.wait_for(queued["id"])
    assert over["state"] == "success", over["reason"]
    assert web.answer() == "without Redis"


def test_a_push_while_redis_hangs_is_accepted_in_time(keystone: Keystone, web: Project) -> None:
    sha = web.commit("Redis hung")
    (redis,) = until(lambda: keystone.parts("redis"), timeout=RESTARTED_WITHIN_S)
    os.kill(redis, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        queued = web.push(sha)
        assert time.monotonic() - begun < TAKEN_WITHIN_S
    finally:
        os.kill(redis, signal.SIGCONT)
    over = keystone.wait_for(queued["id"])
    assert over["state"] == "success", over["reason"]


# --- Workers ---------------------------------------------------------------------------------


def test_killed_workers_leave_nothing_stuck(keystone: Keystone, web: Project, ill: Project) -> None:
    served, nap = web.answer(), Nap()
    building = web.push(web.commit("rebuilt", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=ASLEEP_WITHIN_S, what="the build is asleep")
    checking = ill.push(ill.commit("ill", behaviour="unhealthy"))
    keystone.wait_for_step(checking["id"], "health_check")
    killed = keystone.parts("worker")
    children = [child for worker in killed for child in children_of(worker)]
    assert len(children) == 2
    keystone.kill_part("worker")
    until(lambda: not _alive(children), timeout=ENDS_WITHIN_S, what="no child outlives its worker")
    assert [web.answer(), ill.answer()] == [served, "well"]

    # The promise requires a running worker.
    until(
        lambda: set(keystone.parts("worker")) - set(killed),
        timeout=RESTARTED_WITHIN_S,
        what="there is a worker again",
    )
    ended = keystone.wait_for(checking["id"], timeout=MENDED_WITHIN_S)
    assert ended["state"] == "error"
    assert ended["reason"].startswith("the worker was killed in health_check")
    repeated = keystone.wait_for(building["id"], meanwhile=nap.wake)
    assert repeated["state"] == "success", repeated["reason"]
    assert [web.answer(), ill.answer()] == ["rebuilt", "well"]
    _assert_nothing_is_left(keystone, web, ill)
    assert set(keystone.parts("worker")).isdisjoint(killed)


def test_a_killed_child_is_replaced_within_seconds(keystone: Keystone, web: Project) -> None:
    nap = Nap()
    building = web.push(web.commit("child killed", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=ASLEEP_WITHIN_S, what="the build is asleep")

    def at_work() -> list[int]:
        """Give the one working child, once children that have just finished are gone."""
        workers = keystone.parts("worker")
        found = [child for pid in workers for child in children_of(pid, at_work=True)]
        return found if len(found) == 1 else []

    (child,) = until(at_work, timeout=ENDS_WITHIN_S, what="one child is at work")
    os.kill(child, signal.SIGKILL)
    over = keystone.wait_for(building["id"], timeout=MENDED_WITHIN_S, meanwhile=nap.wake)
    assert over["state"] == "success", over["reason"]
    assert web.answer() == "child killed"


# --- The others ------------------------------------------------------------------------------


def test_apps_are_reachable_again_after_the_router_was_killed(
    keystone: Keystone, web: Project
) -> None:
    served = web.answer()
    before = keystone.parts("router")
    keystone.kill_part("router")
    until(lambda: web.answers(served), timeout=RESTARTED_WITHIN_S, what="the app is reached again")
    assert set(keystone.parts("router")).isdisjoint(before)
    assert web.deploy("after the router")["state"] == "success"
    assert web.answer() == "after the router"


def test_a_killed_web_process_is_started_again(keystone: Keystone, web: Project) -> None:
    (before,) = keystone.parts("web")
    os.kill(before, signal.SIGKILL)
    until(
        lambda: keystone.parts("web") not in ([], [before]),
        timeout=RESTARTED_WITHIN_S,
        what="there is another web process",
    )
    until(lambda: _is_alive(keystone), timeout=RESTARTED_WITHIN_S, what="it answers")
    assert web.deploy("after the web process")["state"] == "success"


def test_a_container_that_somebody_removed_is_noticed(keystone: Keystone, ill: Project) -> None:
    belongings = keystone.belongings()
    (name,) = belongings.containers("ill")
    belongings.remove_container(name)
    belongings.close()

    def is_missed() -> bool:
        """Whether the container is reported missing; at first it may only be reported as killed."""
        told = ill.view()
        return told["state"] == "stopped" and "deploy again" in told["state_reason"]

    until(is_missed, timeout=MENDED_WITHIN_S, what="the app is said to be down")
    again = keystone.api(
        "POST", "/api/apps/ill/deployments", {"ref": ill.view()["live_commit_sha"]}
    )
    assert keystone.wait_for(again["id"])["state"] == "success"
    assert ill.answer() == "well"


def test_keystone_continues_after_all_of_it_was_killed(
    keystone: Keystone, web: Project, ill: Project
) -> None:
    served, nap = web.answer(), Nap()
    building = web.push(web.commit("all killed", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=ASLEEP_WITHIN_S, what="the build is asleep")
    waiting = web.push(web.commit("last", message="the last"))
    keystone.kill()
    keystone.start()
    # The queued deployment may have ended by the time that Keystone is ready.
    until(lambda: web.answers(served, "last"), timeout=RESTARTED_WITHIN_S, what="web is reached")
    until(lambda: ill.answers("well"), timeout=RESTARTED_WITHIN_S, what="ill is reached")
    for deployment in (building, waiting):
        over = keystone.wait_for(deployment["id"], meanwhile=nap.wake)
        assert over["state"] in {"success", "superseded"}, over["reason"]
    assert web.answer() == "last"
    _assert_nothing_is_left(keystone, web, ill)


def test_stopping_keystone_fails_no_deployment(
    keystone: Keystone, web: Project, ill: Project
) -> None:
    served = ill.answer()
    checking = ill.push(ill.commit("never healthy", behaviour="unhealthy"))
    keystone.wait_for_step(checking["id"], "health_check")
    keystone.stop()
    keystone.start()
    # Its health check takes two minutes, so it runs again or soon will.
    keystone.wait_for_step(checking["id"], "health_check")
    assert keystone.deployment(checking["id"])["reason"] == ""
    assert "the worker must stop" in keystone.transcript(checking["id"])
    until(lambda: ill.answers(served), timeout=RESTARTED_WITHIN_S, what="the app is reached")
    keystone.api("POST", f"/api/deployments/{checking['id']}/cancel")
    assert keystone.wait_for(checking["id"])["state"] == "cancelled"
    _assert_nothing_is_left(keystone, web, ill)


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _is_alive(keystone: Keystone) -> bool:
    try:
        return keystone.ask("GET", "/healthz").is_success
    except httpx2.TransportError:
        return False


def _assert_nothing_is_left(keystone: Keystone, *projects: Project) -> None:
    """Assert that each app has one running container, and that it is the live one."""
    belongings = keystone.belongings()
    until(
        lambda: all(belongings.is_at_rest(project.name) for project in projects),
        timeout=MENDED_WITHIN_S,
        what="one container an app",
    )
    apps = [belongings.containers(project.name) for project in projects]
    assert sorted(name for names in apps for name in names) == belongings.containers()
    for project in projects:
        (name,) = belongings.running(project.name)
        assert name.endswith(f"-{project.view()['live_deployment']}")
    belongings.close()
