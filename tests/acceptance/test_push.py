"""The main purpose of Keystone: a push to a private repository becomes a container that answers."""

import re
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.acceptance.traffic import steady_traffic
from tests.githubapi import GitHubApi, PostedStatus
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

SOON_S = 60.0
STEPS = ["checkout", "build", "release", "start", "health_check", "switch", "retire"]


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app without a deployment."""
    return add_project(keystone, git_server, "web")


@pytest.fixture(scope="module")
def pushed(web: Project) -> str:
    """The first pushed commit; the branch has a newer commit before the deployment runs."""
    sha = web.commit("one", message="Say one")
    web.commit("not pushed yet")
    return sha


@pytest.fixture(scope="module")
def first(keystone: Keystone, web: Project, pushed: str) -> Json:
    """The deployment of the first push, once it has ended."""
    answer = web.send(web.payload(pushed, message="Say one"))
    assert answer.status_code == 202
    told = answer.json()
    assert told["status"] == "queued"
    (queued,) = told["deployments"]
    assert queued["app"] == "web"
    assert queued["number"] == 1
    assert queued["commit_sha"] == pushed
    over = keystone.wait_for(queued["id"])

    def retired() -> bool:
        last = keystone.deployment(over["id"])["steps"][-1]
        return bool(last["name"] == "retire" and last["state"] != "running")

    until(retired, timeout=SOON_S, what="the last step has ended")
    return keystone.deployment(over["id"])


def test_a_pushed_commit_answers_at_the_apps_port(first: Json, web: Project, pushed: str) -> None:
    assert first["state"] == "success", first["reason"]
    assert first["commit_sha"] == pushed
    assert web.answer() == "one"
    app = web.view()
    assert app["state"] == "running"
    assert app["live_commit_sha"] == pushed
    assert app["live_deployment"] == first["id"]
    assert app["live_release"] == 1
    assert app["url"] == f"http://127.0.0.1:{web.port}"


def test_the_commit_gets_the_statuses_pending_then_success(
    first: Json, keystone: Keystone, github: GitHubApi, pushed: str
) -> None:
    def posted() -> list[PostedStatus]:
        found = [status for status in github.statuses if status.sha == pushed]
        return found if found and found[-1].state == "success" else []

    statuses = until(posted, timeout=SOON_S, what="GitHub was told of the success")
    states = [status.state for status in statuses]
    assert states[0] == "pending"
    assert states.count("success") == 1
    for status in statuses:
        assert status.context == "keystone/web"
        assert status.target_url == f"{keystone.url}/deployments/{first['id']}"
        assert 0 < len(status.description) <= 140

    def kept() -> list[Json]:
        """Give the statuses recorded as posted, which Keystone writes after GitHub's answer."""
        rows = keystone.deployment(first["id"])["statuses"]
        return [row for row in rows if row["posted_at"]]

    until(lambda: len(kept()) >= len(states), timeout=SOON_S, what="it is on record")
    assert [row["state"] for row in kept()] == states
    assert not any(row["error"] for row in kept())


def test_the_history_shows_what_was_done_when_and_by_whom(first: Json, keystone: Keystone) -> None:
    assert [step["name"] for step in first["steps"]] == STEPS
    assert {step["state"] for step in first["steps"]} == {"success"}
    assert all(step["started_at"] <= step["ended_at"] for step in first["steps"])
    assert first["trigger"] == "push"
    assert first["kind"] == "initial"
    assert first["actor"] == "webhook:octocat"
    assert first["commit_message"] == "Say one"
    assert first["queued_at"] <= first["started_at"] <= first["ended_at"]
    assert first["queued_at"].endswith("Z")
    assert 0 < first["duration_s"] < 600
    tags = [event["tag"] for event in keystone.api("GET", "/api/audit")["items"]]
    assert {"app.created", "deployment.requested", "delivery.accepted"} <= set(tags)


def test_the_log_has_every_step_and_is_read_in_ranges(
    first: Json, keystone: Keystone, pushed: str
) -> None:
    text = keystone.transcript(first["id"])
    assert pushed in text
    for step in ("checkout", "build", "health_check", "switch"):
        assert re.search(rf"^\S+Z {step} \| ", text, re.MULTILINE), text
    offset = len(text.splitlines(keepends=True)[0].encode())
    rest = keystone.ask("GET", f"/api/deployments/{first['id']}/logs?offset={offset}")
    assert rest.headers["content-type"].startswith("text/plain")
    assert rest.text.encode() == text.encode()[offset:]


def test_no_request_fails_while_pushes_change_what_answers(
    first: Json, keystone: Keystone, web: Project
) -> None:
    assert first["state"] == "success"
    with steady_traffic(web.port) as traffic:
        traffic.wait_for("one")
        for version in ("two", "three"):
            deployed = web.deploy(version)
            assert deployed["state"] == "success", deployed["reason"]
            assert deployed["kind"] == "update"
            # After the deployment's success the old release answers no request any more.
            assert web.answer() == version
            traffic.wait_for(version)
        traffic.wait_for("done\n")
        belongings = keystone.belongings()
        until(
            partial(belongings.is_at_rest, "web"),
            timeout=SOON_S,
            what="the old containers have ended",
        )
        belongings.close()
    assert traffic.failures == []


def test_a_container_that_crashes_is_started_again(first: Json, web: Project) -> None:
    assert first["state"] == "success"
    assert web.tell("/exit?code=3") not in {"three", "done\n"}
    until(lambda: web.answer() == "three", timeout=SOON_S, what="the app answers again")


def test_the_data_directory_is_closed_to_other_users(first: Json, keystone: Keystone) -> None:
    assert first["state"] == "success"
    for path in (keystone.data_dir, *_secret_files(keystone.data_dir)):
        assert path.stat().st_mode & 0o007 == 0, path


def _secret_files(data_dir: Path) -> list[Path]:
    return [data_dir / "secret.key", data_dir / "keystone.db", data_dir / "run", data_dir / "logs"]
