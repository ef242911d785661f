"""Secrets appear nowhere that a person could look.

The tests plant a token, a webhook secret, an app's secret and the admin's password, with characters
that every encoding writes differently. Then a Keystone does everything that could reveal them:
deployments that succeed, fail and print everything, and a git server and a GitHub that repeat what
they received. Afterwards the tests search everything.

Two places may contain secrets. The environment of git's own processes contains the token: only root
and the user that Keystone runs as may read it, and it is in no argument. The running container's
environment contains the app's secret, and so does `docker inspect` of that container.
"""

import base64
import html
import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from jobs.rules.text import bare
from receiver.endpoints import ENDPOINTS
from receiver.routing import EVENTS, Endpoint
from tests.acceptance.conftest import prepared, running
from tests.acceptance.keystone import Keystone, until
from tests.acceptance.project import Project, add_project, building
from tests.apart import Place
from tests.githubapi import GitHubApi
from tests.gitserver import Executable, GitServer
from tests.images import app_files, web_binary
from tests.processes import Process, processes
from tests.recorder import Answer, Fault, Request

pytestmark = pytest.mark.docker

# They have characters that URLs, base64, JSON and HTML write differently, and occur nowhere else.
TOKEN = "ghp_Planted/0Token+1With2Thirty3Six4="
APP_SECRET = 'Planted/App+Secret?"two"&<three>=\\4'
WEBHOOK_SECRET = "Planted/Webhook+Secret&one=5"
# Different from other tests' Keystones, because the test searches every process of the machine.
ADMIN_PASSWORD = "Planted/Admin+Password six"
SOON_S = 60.0
LARGEST_FILE = 64 * 1024 * 1024
MOST_PAGES = 60
LINK = re.compile(r'href="(/[^"#?]*)[?#"]')
NO_PAGES = ("/api/", "/static/")


def forms(secret: str) -> list[str]:
    """Give the ways in which a secret may be written."""
    pair = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
    plain = base64.b64encode(secret.encode()).decode()
    escaped = [json.dumps(secret)[1:-1], html.escape(secret)]
    return [secret, quote(secret, safe=""), plain, pair, *escaped]


def found(secrets: list[str], text: str) -> list[str]:
    """Give the secrets that a text contains or shows on a terminal, in any form."""
    seen = bare(text)
    every = [form for secret in secrets for form in forms(secret)]
    return [form for form in every if form in text or form in seen]


def disguised(secret: str) -> list[str]:
    """Give ways to write a secret so that a terminal shows it unchanged."""
    middle = len(secret) // 2
    marks = ("\x1b[31m", "\x1b[0m\x1b[8m", "\x1b]0;title\x07", "\x1b[2K", "\u200b", "\xad")
    return [
        *(f"{secret[:middle]}{mark}{secret[middle:]}" for mark in marks),
        "\u2060".join(secret),
        "\x1b[1m".join(forms(secret)[1]),
    ]


@dataclass
class Watch:
    """Reads the command line and environment of every process repeatedly.

    Attributes:
        commands: all command lines found.
        holders: pairs of a planted secret and a program that had it in its environment.
    """

    commands: set[str] = field(default_factory=set)
    holders: set[tuple[str, str]] = field(default_factory=set)
    looks: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for process in processes():
                self._note(process)
            self.looks += 1

    def wait_for_a_look(self) -> None:
        """Return when the watch has read every process that runs now, or has stopped."""
        wanted = self.looks + 2  # the pass that ends next may have begun before this call
        until(lambda: self.looks >= wanted or not self._thread.is_alive(), timeout=SOON_S)

    def _note(self, process: Process) -> None:
        self.commands.add(" ".join(process.arguments))
        for secret in (TOKEN, APP_SECRET, WEBHOOK_SECRET, ADMIN_PASSWORD):
            if found([secret], process.environment):
                self.holders.add((secret, process.arguments[0].rpartition("/")[2]))

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(SOON_S)


class WatchedGitServer(GitServer):
    """A git server that answers once the watch has read the requesting process."""

    def __init__(self, root: Path, watch: Watch) -> None:
        super().__init__(root, token=TOKEN)
        self._watch = watch

    def answer(self, request: Request) -> Answer:
        """Answer after a pass of the watch."""
        self._watch.wait_for_a_look()
        return super().answer(request)


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Iterator[GitServer]:
    with WatchedGitServer(tmp_path_factory.mktemp("git"), watch) as server:
        yield server


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubApi]:
    with GitHubApi(token=TOKEN) as api:
        yield api


@pytest.fixture(scope="module")
def keystone(request: pytest.FixtureRequest, place: Place, github: GitHubApi) -> Iterator[Keystone]:
    """A Keystone whose secrets are all planted ones."""
    yield from running(request, prepared(place, github, admin_password=ADMIN_PASSWORD))


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer, github: GitHubApi, watch: Watch) -> Project:
    """An app with a history: deployed, failed in several ways, and once printing everything."""
    with watch:
        project = add_project(keystone, git_server, "web")
        _plant(project)
        assert project.deploy("one")["state"] == "success"
        assert project.deploy("dies", behaviour="exit 3")["state"] == "failure"
        _let_git_fail(project, git_server)
        _let_github_fail(project, github)
        assert keystone.run("rotate-key").returncode == 0
    # Without the watch: the commands of this build contain the secrets.
    assert _shout(project)["state"] == "failure"
    shouted = project.pushed
    until(
        lambda: "failure" in {s.state for s in github.statuses if s.sha == shouted},
        timeout=SOON_S,
        what="GitHub was told of the failure that names everything",
    )
    return project


def _plant(project: Project) -> None:
    secret = {"value": APP_SECRET, "secret": True}
    project.keystone.api("PUT", f"/api/apps/{project.name}/env/PLANTED", secret)
    repository = project.view()["repository_id"]
    path = f"/api/repositories/{repository}/webhook-secret"
    project.keystone.api("PUT", path, {"secret": WEBHOOK_SECRET, "overlap_hours": 0})
    project.secret = WEBHOOK_SECRET


def _let_git_fail(project: Project, git_server: GitServer) -> None:
    """Make the git server refuse the token with a message that repeats it."""
    told = f"nobody knows {TOKEN}".encode()
    git_server.fail(Fault(status=403, headers={"Content-Type": "text/plain"}, body=told))
    over = project.deploy("refused")
    git_server.heal()
    assert over["state"] == "failure"
    assert "nobody knows [REDACTED]" in over["reason"]


def _let_github_fail(project: Project, github: GitHubApi) -> None:
    """Make GitHub refuse a status with a message that repeats the token."""
    refused = json.dumps({"message": f"nobody knows {TOKEN}"}).encode()
    github.fail(Fault(status=403, body=refused))
    over = project.deploy("unreported", behaviour="exit 4")
    look = project.keystone.deployment
    until(
        lambda: any("nobody" in (s["error"] or "") for s in look(over["id"])["statuses"]),
        timeout=SOON_S,
        what="a status was refused",
    )
    github.heal()


def _shout(project: Project) -> dict[str, object]:
    """Deploy a commit whose build prints all secrets, and fails with them in its error."""
    planted = (TOKEN, APP_SECRET)
    shouted = [form for secret in planted for form in (*forms(secret), *disguised(secret))]
    dockerfile = building(*(("say", form) for form in shouted), ("exit", "4", TOKEN))
    files = app_files("shouts", dockerfile=dockerfile)
    sha = project.repo.commit({**files, "web": Executable(web_binary())})
    return project.keystone.wait_for(project.push(sha)["id"])


# --- All places where secrets could appear ---------------------------------------------------

ALL = [TOKEN, APP_SECRET, WEBHOOK_SECRET, ADMIN_PASSWORD]


def addresses(keystone: Keystone, endpoint: Endpoint) -> list[str]:
    """Give the URLs of an endpoint for every existing object."""
    path = endpoint.path.replace("{app}", "web").replace("{variable}", "PLANTED")
    path = path.replace("{domain}", "none.example").replace("{name}", "admin")
    ids = [deployment["id"] for deployment in keystone.deployments()]
    return [path.replace("{id}", str(number)) for number in ids] if "{id}" in path else [path]


@pytest.mark.parametrize(
    "endpoint",
    [each for each in ENDPOINTS if each.method == "GET" and each.gives != EVENTS],
    ids=lambda each: str(each.path),
)
def test_no_answer_of_the_api_holds_a_secret(
    keystone: Keystone, web: Project, endpoint: Endpoint
) -> None:
    for path in addresses(keystone, endpoint):
        assert found(ALL, answers_of(keystone, path)) == [], path


def answers_of(keystone: Keystone, path: str) -> str:
    """Repeat a request while the watcher is busy, and give all answers."""
    answers: list[str] = []

    def is_answered() -> bool:
        answer = keystone.ask("GET", path)
        answers.append(answer.text)
        return answer.status_code < 500

    until(is_answered, timeout=SOON_S, what=path)
    return "\n".join(answers)


@pytest.mark.parametrize("lines", ["text", "html"])
def test_no_stream_of_events_holds_a_secret(keystone: Keystone, web: Project, lines: str) -> None:
    for deployment in keystone.deployments():
        # The stream of an ended deployment ends by itself.
        told = keystone.ask("GET", f"/api/deployments/{deployment['id']}/events?lines={lines}").text
        assert "event: log" in told
        assert found(ALL, told) == []


@pytest.mark.parametrize(
    ("method", "path", "change"),
    [
        ("PUT", "/api/apps/web/env/PLANTED", {"value": APP_SECRET, "secret": True}),
        ("PUT", "/api/apps/web/env/PLANTED", {"value": APP_SECRET, "secret": "perhaps"}),
        ("PATCH", "/api/apps/web", {"token": TOKEN}),
        ("PATCH", "/api/apps/web", {"token": TOKEN, "branch": ""}),
        ("PATCH", "/api/apps/web", {"token": f"{TOKEN} "}),
        ("POST", "/api/users", {"name": "", "role": "viewer", "password": ADMIN_PASSWORD}),
        ("POST", "/login", {"name": "nobody", "password": ADMIN_PASSWORD}),
    ],
)
def test_no_answer_to_a_change_repeats_a_secret(
    keystone: Keystone, web: Project, method: str, path: str, change: dict[str, object]
) -> None:
    answer = keystone.ask(method, path, json=change)
    assert answer.status_code in {200, 400, 401}, answer.text
    assert found(ALL, answer.text) == []


def test_no_page_holds_a_secret(keystone: Keystone, web: Project) -> None:
    login = {"name": "admin", "password": ADMIN_PASSWORD}
    with httpx2.Client(base_url=keystone.url, timeout=60, trust_env=False) as browser:
        assert browser.post("/login", json=login).is_success
        left, seen = ["/"], set[str]()
        while left and len(seen) < MOST_PAGES:
            path = html.unescape(left.pop(0))
            seen.add(path)
            page = browser.get(path, follow_redirects=True)
            assert page.status_code == 200, path
            assert found(ALL, page.text) == [], path
            links = set(LINK.findall(page.text)) - seen - set(left)
            left += sorted(link for link in links if not link.startswith(NO_PAGES))
    assert {"/", "/apps/web", "/deliveries", "/audit"} <= seen


def test_logs_hold_the_mask_where_a_build_printed_the_secrets(
    keystone: Keystone, web: Project
) -> None:
    shouting = keystone.deployments()[0]["id"]
    shouted = [*forms(TOKEN), *disguised(TOKEN)]
    assert keystone.transcript(shouting).count("[REDACTED]") >= 2 * len(shouted)
    logs = [keystone.transcript(deployment["id"]) for deployment in keystone.deployments()]
    assert found(ALL, "\n".join([*logs, keystone.log()])) == []


def test_no_process_was_ever_given_a_secret_as_an_argument(watch: Watch, web: Project) -> None:
    assert any("git" in line and "fetch" in line for line in watch.commands)
    assert found(ALL, "\n".join(watch.commands)) == []


def test_only_git_and_the_app_have_a_secret_in_their_environment(
    watch: Watch, web: Project
) -> None:
    told = {program for secret, program in watch.holders if secret == TOKEN}
    assert told, "git was not seen at work"
    # `setpriv` executes `timeout`, which limits git's time.
    starters = {"setpriv", "timeout"}
    assert all(program.startswith("git") or program in starters for program in told), told
    assert {p for secret, p in watch.holders if secret == APP_SECRET} <= {"web", "docker-init"}
    assert not {p for secret, p in watch.holders if secret in {WEBHOOK_SECRET, ADMIN_PASSWORD}}


def test_no_file_holds_a_secret_in_clear(keystone: Keystone, web: Project) -> None:
    files = [path for path in keystone.data_dir.rglob("*") if path.is_file()]
    read = set()
    for path in files:
        with suppress(FileNotFoundError):  # Keystone renames drafts when they are complete
            assert path.stat().st_size < LARGEST_FILE
            text = path.read_bytes().decode("latin-1")
            assert found([*ALL, keystone.token], text) == [], path
            read.add(path.name)
    assert {"keystone.db", "config"} <= read


def test_github_is_told_no_secret(github: GitHubApi, web: Project) -> None:
    assert {status.state for status in github.statuses} >= {"success", "failure"}
    told = "\n".join(request.body.decode() + request.path for request in github.requests)
    assert found(ALL, told) == []


def test_docker_has_only_the_secret_of_the_running_app(keystone: Keystone, web: Project) -> None:
    belongings = keystone.belongings()
    containers, images = belongings.described_containers(), belongings.described_images()
    layers = belongings.layers()
    belongings.close()
    assert keystone.deployments()[-1]["commit_sha"] in containers + images
    assert json.dumps(f"PLANTED={APP_SECRET}") in containers
    assert found([TOKEN, WEBHOOK_SECRET, ADMIN_PASSWORD], containers) == []
    assert found(ALL, images) == []
    assert found(ALL, layers.decode("latin-1")) == []


@pytest.mark.parametrize(
    "command",
    ["app show web", "env list web", "config", "webhook-secret show web", "env set web A=1 B"],
)
def test_the_command_line_tells_no_secret(keystone: Keystone, web: Project, command: str) -> None:
    done = keystone.run(*command.split(), KEYSTONE_GITHUB_TOKEN=TOKEN)
    assert done.stdout + done.stderr
    assert found(ALL, done.stdout + done.stderr) == []


def test_the_app_gets_none_of_keystones_own_variables(web: Project) -> None:
    for name in ("KEYSTONE_SECRET_KEY", "KEYSTONE_ADMIN_PASSWORD", "KEYSTONE_DATA_DIR"):
        assert web.answer(f"/env?{name}") == "not set\n"
    assert web.answer("/env?KEYSTONE_APP") == "web"
