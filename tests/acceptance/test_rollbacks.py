"""Rollbacks: an earlier release runs again unchanged, and pushes pause until a person resumes."""

from dataclasses import dataclass
from functools import partial

import pytest

from jobs.rules.naming import shown_tag
from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.project import Nap, Project, add_project
from tests.acceptance.traffic import Traffic, steady_traffic
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

MIB = 1024 * 1024
REMOVED_WITHIN_S = 60.0
ASLEEP_WITHIN_S = 180.0
# A rollback takes about 4 s. Builds that sleep until they are woken would keep it waiting for ever.
BACK_WITHIN_S = 60.0


@dataclass(frozen=True)
class WayBack:
    """A rollback under traffic, and its visitors' results."""

    deployment: Json
    traffic: Traffic


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app with two releases that differ in every setting; the second one is live."""
    project = add_project(keystone, git_server, "returning", memory_mb=64)
    put(project, "first")
    assert project.deploy("one")["state"] == "success"
    put(project, "second")
    keystone.api("PATCH", "/api/apps/returning", {"memory_mb": 96})
    assert project.deploy("two")["state"] == "success"
    return project


@pytest.fixture(scope="module")
def way_back(keystone: Keystone, web: Project) -> WayBack:
    """The rollback from the second release to the first."""
    with steady_traffic(web.port) as traffic:
        traffic.wait_for("two")
        over = roll_back(keystone)
        traffic.wait_for("one")
    return WayBack(over, traffic)


def put(project: Project, value: str) -> None:
    path = f"/api/apps/{project.name}/env/MODE"
    project.keystone.api("PUT", path, {"value": value, "secret": True})


def roll_back(keystone: Keystone, release: int | None = None) -> Json:
    asked = keystone.api("POST", "/api/apps/returning/rollback", {"release": release})
    return keystone.wait_for(asked["id"])


def steps(deployment: Json) -> dict[str, str]:
    return {step["name"]: step["state"] for step in deployment["steps"]}


def test_a_rollback_restores_image_configuration_and_environment(
    web: Project, way_back: WayBack, machine: Machine
) -> None:
    over = way_back.deployment
    assert over["state"] == "success", over["reason"]
    assert (over["kind"], over["trigger"], over["release"]) == ("rollback", "rollback", 1)
    assert web.answer() == "one"
    assert web.answer("/env?MODE") == "first"
    assert web.answer("/env?KEYSTONE_RELEASE") == "v1"
    assert machine.limits("returning")["Memory"] == 64 * MIB
    app = web.view()
    assert (app["live_release"], app["needs_redeploy"]) == (1, True)


def test_a_rollback_fetches_and_builds_nothing(way_back: WayBack) -> None:
    assert {"checkout", "build", "release"}.isdisjoint(steps(way_back.deployment))


def test_no_request_fails_during_a_rollback(way_back: WayBack) -> None:
    assert way_back.traffic.failures == []


def test_pushes_are_ignored_until_a_person_resumes(
    keystone: Keystone, web: Project, way_back: WayBack
) -> None:
    assert way_back.deployment["state"] == "success"
    sha = web.commit("three")
    answer = web.send(web.payload(sha))
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert answer.json()["reason"] == "auto-deploy of returning is paused"
    assert web.view()["paused_reason"] == "rolled back to v1 by token:ci"
    assert web.answer() == "one"
    assert keystone.run("app", "set", "returning", "--auto-deploy").returncode == 0
    assert web.view()["paused_reason"] == ""
    assert keystone.wait_for(web.push(sha)["id"])["state"] == "success"
    assert [web.answer(), web.answer("/env?MODE")] == ["three", "second"]


def test_a_release_whose_image_was_removed_is_built_again(
    keystone: Keystone, web: Project, way_back: WayBack, machine: Machine
) -> None:
    assert way_back.deployment["state"] == "success"
    if web.answer() == "one":
        assert roll_back(keystone, 2)["state"] == "success"
    (first,) = [r for r in releases(keystone) if r["number"] == 1]
    machine.container("returning")
    belongings = keystone.belongings()
    until(
        partial(belongings.remove_stopped, "returning"),  # stopped containers use the image
        timeout=REMOVED_WITHIN_S,
        what="no container is kept",
    )
    belongings.close()
    (tag,) = [tag for tag in machine.image_tags("returning") if shown_tag(tag) == first["image"]]
    machine.client.images.remove(tag)
    over = roll_back(keystone, 1)
    assert over["state"] == "success", over["reason"]
    assert steps(over)["build"] == "success"
    assert "the image of v1 is gone: it is built again" in keystone.transcript(over["id"])
    assert [web.answer(), web.answer("/env?MODE")] == ["one", "first"]
    assert tag in machine.image_tags("returning")


def test_the_command_line_can_roll_back(
    keystone: Keystone, web: Project, way_back: WayBack
) -> None:
    assert way_back.deployment["state"] == "success"
    wanted = 2 if web.answer() == "one" else 1
    done = keystone.run("rollback", "returning", "--to", f"v{wanted}", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert web.answer() == {1: "one", 2: "two"}[wanted]


def test_an_impossible_rollback_is_409_with_the_reason(keystone: Keystone, web: Project) -> None:
    live = web.view()["live_release"]
    for release, reason in ((live, f"v{live} is the live release"), (99, "v99 is not kept")):
        answer = keystone.ask("POST", "/api/apps/returning/rollback", {"release": release})
        assert answer.status_code == 409
        assert reason in answer.json()["error"]["message"]


def releases(keystone: Keystone) -> list[Json]:
    found: list[Json] = keystone.api("GET", "/api/apps/returning/releases")["items"]
    return found


@pytest.mark.parametrize("kill_its_worker", [False, True], ids=["", "its worker is killed"])
def test_a_rollback_does_not_wait_for_builds_of_other_apps(
    keystone: Keystone, git_server: GitServer, web: Project, *, kill_its_worker: bool
) -> None:
    live = web.view()["live_release"]
    names = [f"slow-{kill_its_worker}-{number}".lower() for number in range(3)]
    builders = [add_project(keystone, git_server, name) for name in names]
    naps = [Nap() for _ in builders]
    builds = [
        each.push(each.commit("built", dockerfile=nap.dockerfile))
        for each, nap in zip(builders, naps, strict=True)
    ]
    # Two workers build; the third build waits, and says for what.
    until(
        lambda: sum(bool(nap.sleepers()) for nap in naps) == 2,
        timeout=ASLEEP_WITHIN_S,
        what="two builds are asleep",
    )
    (waiting,) = (
        shown for each in builds if (shown := _shown(keystone, each))["state"] == "queued"
    )
    until(
        lambda: "both workers are busy with" in (_shown(keystone, waiting)["waiting_for"] or ""),
        timeout=REMOVED_WITHIN_S,
        what="the watcher has counted the workers",
    )
    assert _shown(keystone, waiting)["place"] == 1
    if kill_its_worker:
        keystone.kill_part("quick-worker")
    asked = keystone.api("POST", "/api/apps/returning/rollback", {"release": 3 - live})
    over = keystone.wait_for(asked["id"], timeout=BACK_WITHIN_S)
    assert over["state"] == "success", over["reason"]
    assert sum(bool(nap.sleepers()) for nap in naps) == 2

    def wake_all() -> None:
        for nap in naps:
            nap.wake()

    for each in builds:
        ended = keystone.wait_for(each["id"], meanwhile=wake_all)
        assert ended["state"] == "success", ended["reason"]


def _shown(keystone: Keystone, deployment: Json) -> Json:
    found: Json = keystone.api("GET", f"/api/deployments/{deployment['id']}")
    return found
