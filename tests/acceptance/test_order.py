"""Order of deployments: the newest push wins in any order, and a person can cancel any of them."""

import random
import time
from collections import Counter
from functools import partial

import pytest

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.payloads import PushPayload
from tests.acceptance.project import Nap, Project, add_project
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

QUICK = 10
SHUFFLED = 8
# Long before the cancelled work would end by itself; a few seconds on an idle machine.
CANCELLED_WITHIN_S = 60.0
HEALTH_TIMEOUT_S = 300
ENDS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app that serves."""
    project = add_project(keystone, git_server, "hasty", health_timeout_s=HEALTH_TIMEOUT_S)
    assert project.deploy("zero")["state"] == "success"
    return project


# --- The newest wins -------------------------------------------------------------------------


def test_of_ten_pushes_while_one_runs_only_the_newest_is_built(
    keystone: Keystone, web: Project
) -> None:
    nap = Nap()
    running = web.push(web.commit("slow", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=ENDS_WITHIN_S, what="the build is asleep")
    shas = [web.commit(f"quick {number}") for number in range(QUICK)]
    # Pushes may be a second apart by GitHub's clock, or in the same second: test both.
    payloads = [web.payload(sha, pushed_at=web.pushed_at + n // 3) for n, sha in enumerate(shas)]
    queued = [web.send(payload).json()["deployments"][0] for payload in payloads]
    over = [keystone.wait_for(deployment["id"], meanwhile=nap.wake) for deployment in queued]
    assert [deployment["state"] for deployment in over[:-1]] == ["superseded"] * (QUICK - 1)
    assert over[-1]["state"] == "success", over[-1]["reason"]
    assert keystone.deployment(running["id"])["state"] == "success"
    assert web.answer() == f"quick {QUICK - 1}"
    for deployment in over[:-1]:
        assert "newer push" in deployment["reason"]
        assert not any(step["name"] == "build" for step in deployment["steps"])


@pytest.mark.parametrize("is_one_second", [False, True], ids=["seconds apart", "in one second"])
def test_pushes_delivered_in_any_order_end_on_the_newest_commit(
    keystone: Keystone, web: Project, *, is_one_second: bool
) -> None:
    shas = [web.commit(f"{is_one_second} {number}") for number in range(SHUFFLED)]
    second = web.pushed_at + 1
    changes = {"pushed_at": second} if is_one_second else {}
    payloads = [web.payload(sha, **changes) for sha in shas]
    web.pushed_at = max(web.pushed_at, second)
    order = random.Random(7)  # noqa: S311 — the same order in every run
    order.shuffle(payloads)
    answers = [_send_late(web, payload, order) for payload in payloads]
    for answer in answers:
        for deployment in answer["deployments"]:
            over = keystone.wait_for(deployment["id"])
            assert over["state"] in {"success", "superseded"}, over["reason"]
    assert web.view()["live_commit_sha"] == shas[-1]
    assert web.answer() == f"{is_one_second} {SHUFFLED - 1}"


def _send_late(web: Project, payload: PushPayload, order: random.Random) -> Json:
    time.sleep(order.random() * 0.4)
    answer: Json = web.send(payload).json()
    return answer


def test_an_older_push_that_arrives_after_a_newer_one_is_live_changes_nothing(
    keystone: Keystone, web: Project
) -> None:
    older, newer = (web.payload(web.commit(version)) for version in ("older", "newer"))
    first = web.send(newer).json()["deployments"][0]
    assert keystone.wait_for(first["id"])["state"] == "success"
    late = web.send(older).json()["deployments"][0]
    over = keystone.wait_for(late["id"])
    assert over["state"] == "superseded"
    assert f"#{first['number']}" in over["reason"]
    assert web.answer() == "newer"


# --- Cancelled by a person -------------------------------------------------------------------


def test_a_build_is_cancelled_within_seconds_and_leaves_nothing(
    keystone: Keystone, web: Project
) -> None:
    served, nap = web.answer(), Nap()
    running = web.push(web.commit("never", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=ENDS_WITHIN_S, what="the build is asleep")
    over = _cancelled(keystone, running)
    assert over["reason"].startswith("cancelled by token:ci")
    until(lambda: not nap.sleepers(), timeout=ENDS_WITHIN_S, what="the build has ended")
    assert keystone.ask("POST", f"/api/deployments/{running['id']}/cancel").status_code == 409
    assert web.answer() == served
    _assert_at_rest(keystone)
    assert web.deploy("after it")["state"] == "success"
    assert web.answer() == "after it"


def test_a_health_check_is_cancelled_within_seconds_and_its_container_is_gone(
    keystone: Keystone, web: Project
) -> None:
    served = web.answer()
    running = web.push(web.commit("ill", behaviour="unhealthy"))
    keystone.wait_for_step(running["id"], "health_check")
    over = _cancelled(keystone, running)
    assert over["steps"][-1]["state"] == "cancelled"
    assert web.answer() == served
    _assert_at_rest(keystone)


def test_a_queued_deployment_is_cancelled_at_once(keystone: Keystone, web: Project) -> None:
    running = web.push(web.commit("slowly", dockerfile=Nap().dockerfile))
    keystone.wait_for_step(running["id"], "build")
    waiting = keystone.api("POST", "/api/apps/hasty/deployments", {})
    assert keystone.api("POST", f"/api/deployments/{waiting['id']}/cancel")["state"] == "cancelled"
    _cancelled(keystone, running)
    states = Counter(d["state"] for d in keystone.deployments("hasty"))
    assert not states["running"] + states["queued"]


def _cancelled(keystone: Keystone, deployment: Json) -> Json:
    assert keystone.ask("POST", f"/api/deployments/{deployment['id']}/cancel").status_code == 202
    over = keystone.wait_for(deployment["id"], timeout=CANCELLED_WITHIN_S)
    assert over["state"] == "cancelled"
    return over


def _assert_at_rest(keystone: Keystone) -> None:
    belongings = keystone.belongings()
    until(
        partial(belongings.is_at_rest, "hasty"),
        timeout=ENDS_WITHIN_S,
        what="one container runs",
    )
    belongings.close()
