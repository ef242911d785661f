"""Pushes while Keystone is down: when it is back it catches up on the newest of each app, once."""

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
    """A Keystone that looks for missed pushes; the others' tests commit before they push."""
    made = prepared(place, github, catch_up_minutes=10)
    request.node.stash[RUNNING] = made
    with made:
        yield made


def caught_up(keystone: Keystone, project: Project) -> list[Json]:
    """Give the deployments by which an app caught up, if they are all over."""
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
    # What GitHub sends again, or late, finds what was caught up on.
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
