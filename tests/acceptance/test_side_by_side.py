"""Several apps on one Keystone: each has its own port, network, token and secret."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.keystone import Keystone
from tests.acceptance.project import Project, add_project
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

MANY = 20
OTHER_TOKEN = "ghp_Another0Token1With2Thirty3Six4Charact"


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A second git server with another token."""
    with GitServer(tmp_path_factory.mktemp("other"), token=OTHER_TOKEN) as server:
        yield server


def test_two_repositories_are_deployed_side_by_side(
    keystone: Keystone, git_server: GitServer, other_server: GitServer
) -> None:
    here = add_project(keystone, git_server, "here")
    there = add_project(keystone, other_server, "there")
    queued = [p.push(p.commit(f"from {p.name}")) for p in (here, there)]
    for deployment in queued:
        over = keystone.wait_for(deployment["id"])
        assert over["state"] == "success", over["reason"]
    assert here.answer() == "from here"
    assert there.answer() == "from there"
    _assert_only(git_server, "here")
    _assert_only(other_server, "there")
    # One app's push and its failure do not affect the other app.
    assert here.deploy("broken", behaviour="exit 1")["state"] == "failure"
    assert [here.answer(), there.answer()] == ["from here", "from there"]


def _assert_only(server: GitServer, name: str) -> None:
    """Assert that no server got a request for the other's repository, or the other's token."""
    assert server.requests
    assert all(request.path.startswith(f"/octo/{name}.git") for request in server.requests)
    assert len({request.authorization for request in server.requests} - {None}) == 1


def test_two_apps_of_one_repository_are_both_deployed_by_a_push(
    keystone: Keystone, git_server: GitServer
) -> None:
    first = add_project(keystone, git_server, "shared")
    second = keystone.api(
        "POST",
        "/api/apps",
        {"name": "shared-admin", "repository": first.full_name, "health_path": "/health"},
    )
    assert second["webhook"]["secret"] is None
    answer = first.send(first.payload(first.commit("both")))
    told = answer.json()["deployments"]
    assert sorted(deployment["app"] for deployment in told) == ["shared", "shared-admin"]
    for deployment in told:
        assert keystone.wait_for(deployment["id"])["state"] == "success"
    also = Project(
        keystone, "shared-admin", first.repo, first.github_id, second["host_port"], first.secret
    )
    assert [first.answer(), also.answer()] == ["both", "both"]


def test_twenty_apps_added_and_deployed_at_once_all_answer(
    keystone: Keystone, git_server: GitServer
) -> None:
    names = [f"app-{number:02d}" for number in range(MANY)]
    with ThreadPoolExecutor(MANY) as pool:
        projects = list(pool.map(lambda name: add_project(keystone, git_server, name), names))
    assert len({project.port for project in projects}) == MANY
    assert all(project.port in keystone.ports for project in projects)
    commits = [project.commit(f"this is {project.name}") for project in projects]
    with ThreadPoolExecutor(MANY) as pool:
        queued = list(pool.map(Project.push, projects, commits))
    for deployment in queued:
        over = keystone.wait_for(deployment["id"], timeout=120)
        assert over["state"] == "success", over["reason"]
    assert [p.answer() for p in projects] == [f"this is {name}" for name in names]
