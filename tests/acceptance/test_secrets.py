"""The repository's token and the webhook secret show nowhere that somebody could look."""

import base64
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.acceptance.conftest import running
from tests.acceptance.keystone import ADMIN_PASSWORD, Keystone, until
from tests.acceptance.project import Project, add_project, building
from tests.githubapi import GitHubApi
from tests.gitserver import Executable, GitServer
from tests.images import app_files, web_binary
from tests.processes import processes
from tests.recorder import Answer, Fault, Request

pytestmark = pytest.mark.docker

# With characters that URLs encode, and found nowhere else.
PLANTED = "ghp_Planted/0Token+1With2Thirty3Six4="
ANSWERS_AFTER_S = 0.5
LARGEST_FILE = 64 * 1024 * 1024


class SlowGitServer(GitServer):
    """A git server that takes its time, so that git can be watched at work."""

    def answer(self, request: Request) -> Answer:
        """Answer after a while."""
        time.sleep(ANSWERS_AFTER_S)
        return super().answer(request)


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with SlowGitServer(tmp_path_factory.mktemp("git"), token=PLANTED) as server:
        yield server


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubApi]:
    with GitHubApi(token=PLANTED) as api:
        yield api


@pytest.fixture(scope="module")
def keystone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, github: GitHubApi
) -> Iterator[Keystone]:
    """A Keystone that is given only what was planted."""
    yield from running(request, tmp_path_factory.mktemp("up"), github)


class Watch:
    """Reads the command line of every process, again and again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.seen |= {" ".join(process.arguments) for process in processes()}

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer, github: GitHubApi, watch: Watch) -> Project:
    """An app with a history: deployed, failed in several ways, and once shouting the token."""
    with watch:
        project = add_project(keystone, git_server, "web")
        assert project.deploy("one")["state"] == "success"
        assert project.deploy("dies", behaviour="exit 3")["state"] == "failure"
        git_server.fail(Fault(status=500))
        assert project.deploy("unreachable")["state"] == "error"
        git_server.heal()
        _shout(project)
    shouted = project.pushed
    until(
        lambda: "failure" in {s.state for s in github.statuses if s.sha == shouted},
        timeout=15,
        what="GitHub was told of the failure that names the token",
    )
    return project


def _shout(project: Project) -> None:
    """Deploy a commit that prints the token while it is built, and fails at naming it."""
    dockerfile = building(*(("say", form) for form in forms(PLANTED)), ("exit", "4", PLANTED))
    files = app_files("shouts", dockerfile=dockerfile)
    sha = project.repo.commit({**files, "web": Executable(web_binary())})
    over = project.keystone.wait_for(project.push(sha)["id"])
    assert over["state"] == "failure"


def forms(secret: str) -> list[str]:
    """Give the ways in which a secret may be written."""
    pair = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
    return [secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), pair]


def found(secrets: list[str], text: str) -> list[str]:
    """Give which of the secrets stand in a text, in any form."""
    return [form for secret in secrets for form in forms(secret) if form in text]


def test_no_answer_of_the_api_holds_a_secret(keystone: Keystone, web: Project) -> None:
    ids = [deployment["id"] for deployment in keystone.deployments()]
    paths = [
        *("/api/apps", "/api/apps/web", "/api/apps/web/env", "/api/apps/web/container"),
        *("/api/deployments", "/api/deliveries", "/api/audit", "/api/repositories"),
        *("/api/users", "/api/tokens", "/api/openapi.json", "/healthz", "/readyz", "/metrics"),
        *(f"/api/deployments/{number}" for number in ids),
    ]
    for path in paths:
        assert found([PLANTED, web.secret, ADMIN_PASSWORD], keystone.ask("GET", path).text) == []


def test_logs_hold_the_mask_where_a_build_printed_the_token(
    keystone: Keystone, web: Project
) -> None:
    shouting = keystone.deployments()[0]["id"]
    text = keystone.transcript(shouting)
    assert "[REDACTED]" in text
    logs = [keystone.transcript(deployment["id"]) for deployment in keystone.deployments()]
    assert found([PLANTED, web.secret], "\n".join([*logs, keystone.log()])) == []


def test_no_process_was_ever_given_a_secret_as_an_argument(watch: Watch, web: Project) -> None:
    assert any("git" in line and "fetch" in line for line in watch.seen)
    assert found([PLANTED, web.secret, ADMIN_PASSWORD], "\n".join(watch.seen)) == []


def test_no_file_holds_a_secret_in_clear(keystone: Keystone, web: Project) -> None:
    files = [path for path in keystone.data_dir.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"keystone.db", "config"} <= names
    for path in files:
        assert path.stat().st_size < LARGEST_FILE
        text = path.read_bytes().decode("latin-1")
        assert found([PLANTED, web.secret, keystone.token, ADMIN_PASSWORD], text) == [], path


def test_github_is_told_no_secret(github: GitHubApi, web: Project) -> None:
    assert {status.state for status in github.statuses} >= {"success", "failure"}
    told = "\n".join(request.body.decode() + request.path for request in github.requests)
    assert found([PLANTED, web.secret, ADMIN_PASSWORD], told) == []


def test_docker_knows_no_secret(keystone: Keystone, web: Project) -> None:
    belongings = keystone.belongings()
    described, layers = belongings.described(), belongings.layers()
    belongings.close()
    assert web.keystone.deployments()[-1]["commit_sha"] in described
    assert found([PLANTED, web.secret, ADMIN_PASSWORD], described) == []
    assert found([PLANTED, web.secret], layers.decode("latin-1")) == []


def test_the_app_is_started_with_nothing_of_keystones_own(web: Project) -> None:
    for name in ("KEYSTONE_SECRET_KEY", "KEYSTONE_ADMIN_PASSWORD", "KEYSTONE_DATA_DIR"):
        assert web.answer(f"/env?{name}") == "not set\n"
    assert web.answer("/env?KEYSTONE_APP") == "web"
