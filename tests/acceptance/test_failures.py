"""Every failure has a reason in a sentence, and the old release keeps serving."""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.acceptance.conftest import TOKEN
from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.project import Project, add_project, building
from tests.githubapi import GitHubApi
from tests.gitserver import Fault, GitServer

pytestmark = pytest.mark.docker

SOON_S = 60.0
# A hanging GitHub delays each of a deployment's three statuses by 10 s.
THREE_STATUSES_S = 30.0


@pytest.fixture(scope="module")
def live(keystone: Keystone, git_server: GitServer) -> Project:
    """A live app that serves "good"."""
    project = add_project(keystone, git_server, "faulty", health_timeout_s=60)
    deployed = project.deploy("good")
    assert deployed["state"] == "success", deployed["reason"]
    return project


@pytest.fixture
def web(live: Project, git_server: GitServer, github: GitHubApi) -> Iterator[Project]:
    """The app, which must serve "good" from one container before and after each test."""
    assert live.answer() == "good"
    yield live
    git_server.heal()
    github.heal()
    assert live.answer() == "good"
    belongings = live.keystone.belongings()
    until(
        partial(belongings.is_at_rest, "faulty"),
        timeout=SOON_S,
        what="nothing of the failed deployment is left",
    )
    belongings.close()


def ended(deployment: Json, state: str) -> str:
    """Give the reason of a deployment that must have ended in this state."""
    assert deployment["state"] == state, deployment["reason"]
    assert deployment["steps"][-1]["state"] == state
    assert deployment["steps"][-1]["reason"] == deployment["reason"]
    reason: str = deployment["reason"]
    return reason


# --- The app's fault -------------------------------------------------------------------------


def test_a_branch_that_does_not_exist(keystone: Keystone, web: Project) -> None:
    queued = keystone.api("POST", "/api/apps/faulty/deployments", {"ref": "no/such"})
    reason = ended(keystone.wait_for(queued["id"]), "failure")
    assert reason == "the branch no/such does not exist in octo/faulty"


def test_a_commit_that_a_force_push_removed(keystone: Keystone, web: Project) -> None:
    queued = keystone.api("POST", "/api/apps/faulty/deployments", {"ref": "1" * 40})
    reason = ended(keystone.wait_for(queued["id"]), "failure")
    assert reason == "commit 1111111 is not in octo/faulty (it may have been force-pushed away)"


def test_a_commit_without_a_dockerfile(keystone: Keystone, web: Project) -> None:
    keystone.api("PATCH", "/api/apps/faulty", {"dockerfile": "deploy/Dockerfile"})
    deployed = web.deploy("lost")
    keystone.api("PATCH", "/api/apps/faulty", {"dockerfile": "Dockerfile"})
    reason = ended(deployed, "failure")
    told = "there is no Dockerfile at deploy/Dockerfile in the commit, but there is Dockerfile: "
    assert reason == f"{told}set `--dockerfile Dockerfile`"


def test_a_command_of_the_dockerfile_that_fails(keystone: Keystone, web: Project) -> None:
    dockerfile = building(("exit", "37"))
    deployed = web.deploy("broken", dockerfile=dockerfile)
    reason = ended(deployed, "failure")
    assert reason.startswith(
        'the build failed: exiting with code 37, at "RUN ["/web", "exit", "37"]" '
    )
    assert reason.endswith("of Dockerfile): exit code 37")
    assert "exiting with code 37" in keystone.transcript(deployed["id"])


def test_an_invalid_dockerfile(web: Project) -> None:
    reason = ended(web.deploy("typo", dockerfile="FORM scratch\n"), "failure")
    assert "FORM" in reason


def test_a_container_that_exits(keystone: Keystone, web: Project) -> None:
    deployed = web.deploy("dies", behaviour="exit 3")
    reason = ended(deployed, "failure")
    told = "the container exited with code 3 before it was healthy"
    assert reason == f"{told}; it wrote: told to exit with code 3"
    assert "told to exit with code 3" in keystone.transcript(deployed["id"])


def test_a_command_that_is_not_in_the_image(keystone: Keystone, web: Project) -> None:
    dockerfile = 'FROM scratch\nCOPY web /web\nCMD ["/nope"]\n'
    deployed = web.deploy("empty", dockerfile=dockerfile)
    assert "exited with code 127" in ended(deployed, "failure")
    assert "exec /nope failed: No such file or directory" in keystone.transcript(deployed["id"])


@pytest.mark.parametrize(
    ("behaviour", "seen"),
    [("mute", "no answer within"), ("unhealthy", "503"), ("deaf", "refused")],
)
def test_a_container_that_never_becomes_healthy(
    keystone: Keystone, web: Project, behaviour: str, seen: str
) -> None:
    # Long enough that the check sees whether the app listens, even if the machine stalls.
    keystone.api("PATCH", "/api/apps/faulty", {"health_timeout_s": 10})
    deployed = web.deploy(behaviour, behaviour=behaviour)
    keystone.api("PATCH", "/api/apps/faulty", {"health_timeout_s": 60})
    reason = ended(deployed, "failure")
    assert reason.startswith("GET /health on port 8000 was not healthy within 10 s; last seen: ")
    assert seen in reason
    words = {"mute": "listening on 8000", "unhealthy": "listening", "deaf": "never listening"}
    assert words[behaviour] in keystone.transcript(deployed["id"])


def test_a_token_that_git_refuses(keystone: Keystone, web: Project) -> None:
    repository = web.view()["repository_id"]
    keystone.api("PUT", f"/api/repositories/{repository}/token", {"token": "ghp_expired"})
    deployed = web.deploy("locked out")
    keystone.api("PUT", f"/api/repositories/{repository}/token", {"token": TOKEN})
    reason = ended(deployed, "failure")
    assert reason.startswith(
        "the repository refused the token of octo/faulty: it is wrong or expired"
    )


# --- The platform's fault --------------------------------------------------------------------


def test_a_git_server_that_is_down(web: Project, git_server: GitServer) -> None:
    git_server.fail(Fault(reset=True))
    reason = ended(web.deploy("unreachable"), "error")
    assert reason.startswith("git could not fetch")
    assert "octo/faulty" in reason


def test_a_git_server_that_fails(web: Project, git_server: GitServer) -> None:
    git_server.fail(Fault(status=503))
    assert "503" in ended(web.deploy("unavailable"), "error")


# --- GitHub's API ----------------------------------------------------------------------------


def test_a_github_that_hangs_delays_a_status_and_nothing_else(
    keystone: Keystone, web: Project, github: GitHubApi
) -> None:
    sha = web.commit("good")
    github.fail(Fault(hang=True))
    begun = time.monotonic()
    deployed = keystone.wait_for(web.push(sha)["id"])
    assert deployed["state"] == "success", deployed["reason"]
    assert time.monotonic() - begun < THREE_STATUSES_S
    github.heal()
    (last,) = until(
        lambda: _settled(keystone, deployed["id"]), timeout=60, what="GitHub was told in the end"
    )
    assert last["state"] == "success"
    assert last["posted_at"]
    assert "success" in {s.state for s in github.statuses if s.sha == deployed["commit_sha"]}


def test_a_github_that_refuses_the_token_is_shown_and_breaks_nothing(
    keystone: Keystone, web: Project, github: GitHubApi
) -> None:
    github.fail(Fault(status=401, body=b'{"message": "Bad credentials"}'))
    deployed = web.deploy("good")
    assert deployed["state"] == "success", deployed["reason"]
    (last,) = until(
        lambda: _settled(keystone, deployed["id"]), timeout=SOON_S, what="the status is given up"
    )
    assert last["posted_at"] is None
    assert "token" in last["error"]
    assert "token" in (_token_problem(keystone) or "")
    github.heal()
    assert web.deploy("good")["state"] == "success"
    until(
        lambda: _token_problem(keystone) is None,
        timeout=SOON_S,
        what="the problem is forgotten once GitHub takes the token",
    )


def _token_problem(keystone: Keystone) -> str | None:
    repositories = keystone.api("GET", "/api/repositories")["items"]
    (found,) = [row for row in repositories if row["full_name"] == "octo/faulty"]
    problem: str | None = found["token_problem"]
    return problem


def _settled(keystone: Keystone, deployment_id: int) -> list[Json]:
    """Give the deployment's last status once Keystone has posted it or given up."""
    last: Json = keystone.deployment(deployment_id)["statuses"][-1]
    return [last] if last["state"] == "success" and (last["posted_at"] or last["error"]) else []
