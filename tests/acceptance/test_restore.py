"""A backup of a running Keystone restores every app, on a new machine and on the same one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import prepared, running
from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.apart import Place
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

SECRET = "what the app must know and nobody else"
# Keystone accepts pushes as soon as it is ready; its router may start a little later.
REACHED_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A separate Keystone that the tests delete."""
    yield from running(request, prepared(place, github))


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app whose live commit and secret are not the newest ones."""
    project = add_project(keystone, git_server, "web")
    keystone.api("PUT", "/api/apps/web/env/API_KEY", {"value": SECRET, "secret": True})
    assert project.deploy("live")["state"] == "success"
    keystone.api("PATCH", "/api/apps/web", {"auto_deploy": False})
    project.commit("never deployed")
    keystone.api("PUT", "/api/apps/web/env/API_KEY", {"value": "never deployed", "secret": True})
    return project


def back_up(keystone: Keystone, file: Path) -> None:
    made = keystone.run("backup", str(file), "--logs")
    assert made.returncode == 0, made.stderr


def brought_back(keystone: Keystone, web: Project) -> Json:
    """Wait until Keystone has deployed the app again, and give that deployment."""
    newest = keystone.deployments("web")[0]
    assert (newest["trigger"], newest["kind"]) == ("manual", "update")
    assert "restored from a backup of 20" in newest["actor"]
    over = keystone.wait_for(newest["id"])
    assert over["state"] == "success", over["reason"]
    assert web.view()["live_deployment"] == over["id"]
    return over


def test_on_a_new_machine_the_app_answers_as_before(
    keystone: Keystone, web: Project, tmp_path: Path
) -> None:
    before = web.view()
    back_up(keystone, tmp_path / "backup.tar.gz")
    keystone.stop(router=True)
    belongings = keystone.belongings()
    belongings.remove()
    assert belongings.everything() == []
    belongings.close()

    keystone.move(keystone.folder / "new machine")
    restored = keystone.run("restore", str(tmp_path / "backup.tar.gz"))
    assert restored.returncode == 0, restored.stderr
    keystone.start()

    over = brought_back(keystone, web)
    assert over["commit_sha"] == before["live_commit_sha"]
    assert web.answer() == "live"
    assert web.answer("/env?API_KEY") == SECRET
    assert web.view()["host_port"] == before["host_port"]
    assert web.view()["auto_deploy"] is False
    assert "build" in keystone.transcript(before["live_deployment"])


def test_on_the_same_machine_the_app_goes_on_answering(
    keystone: Keystone, web: Project, tmp_path: Path
) -> None:
    before = web.view()
    back_up(keystone, tmp_path / "backup.tar.gz")
    refused = keystone.run("restore", str(tmp_path / "backup.tar.gz"), "--force")
    assert refused.returncode == 4
    assert "stop it first" in refused.stderr
    keystone.stop(router=True)
    restored = keystone.run("restore", str(tmp_path / "backup.tar.gz"), "--force")
    assert restored.returncode == 0, restored.stderr
    assert "Until then their containers serve: web." in restored.stdout

    keystone.start()
    until(lambda: web.answers("live"), timeout=REACHED_WITHIN_S, what="the app is reached")
    over = brought_back(keystone, web)
    assert over["commit_sha"] == before["live_commit_sha"]
    assert web.answer("/env?API_KEY") == SECRET
