"""The identity of a repository: GitHub confirms it, and nobody else can claim it."""

from functools import partial

import pytest

from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.payloads import Delivery, encoded
from tests.acceptance.project import Project, add_project
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

KNOWN_WITHIN_S = 120
SWEPT_WITHIN_S = 120


def row_of(keystone: Keystone, number: int) -> Json:
    """Give a repository as the API describes it."""
    rows = keystone.api("GET", "/api/repositories")["items"]
    found: Json = next(row for row in rows if row["id"] == number)
    return found


def is_known(keystone: Keystone, number: int, github_id: int) -> bool:
    """Whether GitHub has confirmed that id for a repository."""
    row = row_of(keystone, number)
    return (row["github_id"], row["identity_from"]) == (github_id, "github")


def test_a_secret_cannot_claim_the_identity_of_another_repository(
    keystone: Keystone, git_server: GitServer
) -> None:
    mine = add_project(keystone, git_server, "mine")
    theirs = add_project(keystone, git_server, "theirs")
    # Before "theirs" has ever pushed, a delivery signed with the secret of "mine" claims its id,
    # and another one claims another name.
    for changes in ({"repository_id": theirs.github_id}, {"full_name": "octo/elsewhere"}):
        attack = mine.payload("d" * 40, ref="refs/heads/another", **changes)
        answer = keystone.deliver(Delivery(encoded(attack.to_json()), mine.secret))
        assert answer.status_code in {200, 401}, answer.text
    numbers = [project.view()["repository_id"] for project in (mine, theirs)]
    rows = [row_of(keystone, number) for number in numbers]
    assert [row["github_id"] for row in rows] == [None, None]
    assert [row["full_name"] for row in rows] == ["octo/mine", "octo/theirs"]
    assert theirs.deploy("one")["state"] == "success"
    assert mine.deploy("one")["state"] == "success"


def test_github_confirms_the_id_and_name_of_a_repository(
    keystone: Keystone, git_server: GitServer, github: GitHubApi
) -> None:
    project = add_project(keystone, git_server, "named")
    number = project.view()["repository_id"]
    github.know("octo/named", project.github_id)
    # Request the identity again: Keystone may have asked before GitHub knew the repository.
    keystone.api("PATCH", f"/api/repositories/{number}", {"github_id": None})
    keystone.api("PUT", f"/api/repositories/{number}/token", {"token": git_server.token})
    known = partial(is_known, keystone, number, project.github_id)
    until(known, timeout=KNOWN_WITHIN_S, what="GitHub has said who it is")
    assert project.deploy("one")["state"] == "success"
    assert "named" in {status.context.removeprefix("keystone/") for status in github.statuses}

    github.rename("octo/named", "octo/renamed")
    # Keystone accepts a delivery under the new name at once, because the id is proven.
    payload = project.payload(project.commit("two"), full_name="octo/renamed")
    answer = keystone.deliver(project.delivery(payload))
    assert answer.status_code == 202, answer.text
    until(
        lambda: row_of(keystone, number)["full_name"] == "octo/renamed",
        timeout=KNOWN_WITHIN_S,
        what="GitHub has said what it is called by now",
    )
    audit = keystone.api("GET", f"/api/audit?target=repository:{number}&tag=repository")["items"]
    renamed = next(row for row in audit if row["tag"] == "repository.renamed")
    assert renamed["actor"] == "keystone:keystone"
    assert keystone.wait_for(answer.json()["deployments"][0]["id"])["state"] == "success"


def test_nothing_of_a_repository_outlives_its_last_app(
    keystone: Keystone, git_server: GitServer
) -> None:
    project = add_project(keystone, git_server, "leaving")
    number = project.view()["repository_id"]
    assert project.deploy("one")["state"] == "success"
    mirror = f"{number}-sha1.git"
    assert mirror in keystone.mirrors()
    gone = keystone.api("DELETE", "/api/apps/leaving")
    assert (gone["removed"], gone["repository_removed"]) == ("leaving", "octo/leaving")
    until(
        lambda: mirror not in keystone.mirrors(),
        timeout=SWEPT_WITHIN_S,
        what="its source code is gone",
    )
    answer = keystone.deliver(project.delivery(project.payload("e" * 40)))
    assert answer.status_code == 401
    again: Project = add_project(keystone, git_server, "leaving")
    assert again.view()["repository_id"] > number
    assert again.secret != project.secret
