"""Success means that the app answers: with real gunicorn and uvicorn apps.

A pre-fork server listens before its workers have imported the app. A deployer that accepts a
connection as an answer would replace a good release by one that answers no request.
"""

from contextlib import suppress

import docker
import httpx2
import pytest

from tests.acceptance.keystone import OVER_WITHIN_S, Json, Keystone, until
from tests.acceptance.project import Project, add_project
from tests.acceptance.traffic import steady_traffic
from tests.githubapi import GitHubApi
from tests.gitserver import GitServer
from tests.python_image import dockerfile, ensure_image

pytestmark = pytest.mark.docker

WSGI = """\
{first}
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{says}"]
"""
ASGI = """\
{first}
async def app(scope, receive, send):
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/plain")]
        await send({{"type": "http.response.start", "status": 200, "headers": headers}})
        await send({{"type": "http.response.body", "body": b"{says}"}})
"""
RAISES = 'raise RuntimeError("no such table: users")'
SLOW = "import time; time.sleep(3)"
# Ends when it is told to, so it does so after the switch on each machine.
MORTAL = """\
import os
async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["method"] == "POST":
            os._exit(7)
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"dying"})
"""
GUNICORN = ("-m", "gunicorn", "--bind", "0.0.0.0:8000", "--workers", "2", "app:app")
UVICORN = ("-m", "uvicorn", "--host", "0.0.0.0", "--port", "8000", "app:app")
SEVERAL = (*UVICORN, "--workers", "2")


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    """Build the base image of the apps, which the next run reuses."""
    client = docker.from_env(timeout=120)
    ensure_image(client)
    client.close()


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app without a health path that serves "good"."""
    project = add_project(
        keystone, git_server, "answering", health_path=None, health_timeout_s=25, memory_mb=256
    )
    over = deploy(project, GUNICORN, WSGI.format(first="", says="good"))
    assert over["state"] == "success", over["reason"]
    return project


def commit(project: Project, command: tuple[str, ...], app: str) -> str:
    return project.repo.commit({"Dockerfile": dockerfile(*command), "app.py": app})


def deploy(project: Project, command: tuple[str, ...], app: str) -> Json:
    pushed = project.push(commit(project, command, app))
    return project.keystone.wait_for(pushed["id"])


def told(github: GitHubApi, sha: str) -> list[str]:
    """Give the states of a commit's statuses on GitHub."""
    return [status.state for status in github.statuses if status.sha == sha]


@pytest.mark.parametrize(
    ("command", "app"), [(GUNICORN, WSGI), (SEVERAL, ASGI)], ids=["gunicorn", "uvicorn"]
)
def test_an_app_whose_workers_cannot_import_it_never_goes_live(
    web: Project, github: GitHubApi, command: tuple[str, ...], app: str
) -> None:
    with steady_traffic(web.port) as traffic:
        traffic.wait_for("good")
        over = deploy(web, command, app.format(first=RAISES, says="never"))
        traffic.wait_for("good", count=traffic.answers["good"] + 20)
    assert over["state"] == "failure", over["reason"]
    assert [step["name"] for step in over["steps"]][-1] == "health_check"
    assert "no such table: users" in web.keystone.transcript(over["id"])
    assert traffic.failures == []
    until(
        lambda: told(github, over["commit_sha"])[-1:] == ["failure"],
        timeout=OVER_WITHIN_S,
        what="GitHub is told of the failure",
    )


def test_a_rollback_waits_until_the_slow_workers_answer(web: Project) -> None:
    slow = deploy(web, SEVERAL, ASGI.format(first=SLOW, says="slow"))
    assert slow["state"] == "success", slow["reason"]
    assert deploy(web, GUNICORN, WSGI.format(first="", says="quick"))["state"] == "success"
    with steady_traffic(web.port) as traffic:
        traffic.wait_for("quick")
        path = "/api/apps/answering/rollback"
        asked = web.keystone.api("POST", path, {"release": slow["release"]})
        back = web.keystone.wait_for(asked["id"])
        traffic.wait_for("slow")
    assert back["state"] == "success", back["reason"]
    assert traffic.failures == []
    web.keystone.api("PATCH", "/api/apps/answering", {"auto_deploy": True})


def test_keystone_goes_back_from_a_release_that_dies_in_its_first_minute(
    web: Project, github: GitHubApi
) -> None:
    keystone = web.keystone
    good = deploy(web, GUNICORN, WSGI.format(first="", says="steady"))
    assert good["state"] == "success", good["reason"]
    pushed = web.push(commit(web, UVICORN, MORTAL))

    def is_withdrawn() -> bool:
        # Whenever it serves, it ends: an end before the switch is over does not count.
        if web.answer("/") == "dying":
            with suppress(httpx2.TransportError):
                web.tell("/")
        return bool(keystone.deployment(pushed["id"])["state"] == "failure")

    until(is_withdrawn, timeout=OVER_WITHIN_S, what="the deployment is withdrawn")
    withdrawn = keystone.deployment(pushed["id"])
    steps = {step["name"]: step["state"] for step in withdrawn["steps"]}
    assert steps["switch"] == "success", "it went live first"
    assert "within 60 s of going live" in withdrawn["reason"]
    (recovery,) = [d for d in keystone.deployments("answering") if d["trigger"] == "recovery"]
    back = keystone.wait_for(recovery["id"])
    assert (back["state"], back["kind"], back["release"]) == (
        "success",
        "rollback",
        good["release"],
    )
    assert web.answer("/") == "steady"
    view = web.view()
    assert (view["state"], view["auto_deploy"]) == ("running", True)
    assert view["state_reason"].startswith(f"#{withdrawn['number']} did not stay up, so ")
    until(
        lambda: told(github, withdrawn["commit_sha"])[-2:] == ["success", "failure"],
        timeout=OVER_WITHIN_S,
        what="GitHub is told that it was a failure after all",
    )


def test_the_push_after_a_recovery_goes_live(web: Project) -> None:
    over = deploy(web, UVICORN, ASGI.format(first="", says="mended"))
    assert over["state"] == "success", over["reason"]
    assert web.answer("/") == "mended"
    assert web.view()["state_reason"] == ""


def test_with_a_tcp_check_a_connection_is_enough(keystone: Keystone, git_server: GitServer) -> None:
    """With `--health tcp` a connection is enough, even if the app never answers."""
    project = add_project(
        keystone, git_server, "connecting", health="tcp", health_path=None, memory_mb=256
    )
    mute = "import socket\nserver = socket.create_server(('0.0.0.0', 8000))\nserver.accept()\n"
    listening = f"{mute}import time\ntime.sleep(10**6)\n"
    over = deploy(project, ("app.py",), listening)
    assert over["state"] == "success", over["reason"]
