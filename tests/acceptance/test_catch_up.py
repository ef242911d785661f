"""Pushes while Keystone is down: after its start each app catches up once, on the newest push."""

from collections.abc import Iterator
from functools import partial

import httpx2
import pytest

from tests.acceptance.conftest import RUNNING, TOKEN, prepared
from tests.acceptance.keystone import OVER, Json, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.apart import Place
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A Keystone that catches up; other tests turn this off, as they commit before a push."""
    made = prepared(place, github, catch_up_minutes=10)
    request.node.stash[RUNNING] = made
    with made:
        yield made


def caught_up(keystone: Keystone, project: Project) -> list[Json]:
    """Give the catch-up deployments of an app, if all have ended."""
    found = [row for row in keystone.deployments(project.name) if row["trigger"] == "catch_up"]
    return found if all(row["state"] in OVER for row in found) else []


def test_after_down_time_each_app_is_brought_to_its_newest_push_once(
    keystone: Keystone, git_server: GitServer, github: GitHubApi
) -> None:
    listed = add_project(keystone, git_server, "listed")
    unlisted = add_project(keystone, git_server, "unlisted")
    github.know(listed.full_name, listed.github_id)
    hook = github.hooks.add(listed.full_name, f"{keystone.url}/webhooks/github")
    for project in (listed, unlisted):
        assert project.deploy("one")["state"] == "success"

    keystone.stop()
    pushes = []
    for project in (listed, unlisted):
        for version in ("two", "three"):
            payload = project.payload(project.commit(version))
            pushes.append(project.delivery(payload))
            if project is listed:
                hook.delivered(pushes[-1].guid, payload.to_json(), status_code=502)
    keystone.start()

    for project in (listed, unlisted):
        until(partial(caught_up, keystone, project), timeout=150, what="it has caught up")
        (made,) = caught_up(keystone, project)
        assert (made["state"], made["commit_sha"]) == ("success", project.pushed), made["reason"]
        assert project.answer() == "three"
    # Repeated or late deliveries of GitHub do not deploy the caught-up pushes again.
    for delivery in (pushes[1], pushes[3]):
        again = keystone.deliver(delivery)
        assert again.status_code == httpx2.codes.OK, again.text
        assert again.json()["status"] == "duplicate"
    assert [len(keystone.deployments(p.name)) for p in (listed, unlisted)] == [2, 2]

    looks = {
        row["full_name"]: row["catch_up"]
        for row in keystone.api("GET", "/api/repositories")["items"]
    }
    assert looks["octo/listed"]["way"] == "deliveries"
    assert looks["octo/unlisted"]["way"] == "branch_head"
    assert looks["octo/listed"]["found"] == "2 pushes were missed: #2 of listed is queued"
    assert TOKEN not in keystone.log()
