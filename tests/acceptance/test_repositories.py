"""Twelve ordinary repositories: each goes live with the settings that its owner would choose.

Where one does not, the deployment's reason names the one thing to change; the test changes it.
The owner uses the command line, and knows no more than README.md says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.acceptance.conftest import TOKEN
from tests.acceptance.keystone import ANSWER_WITHIN_S, Json, Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.project import Project
from tests.debian_image import ensure_images
from tests.gitserver import Content, GitServer
from tests.repositories import files_of

pytestmark = pytest.mark.docker

PATIENT = ("--health-timeout-s", "60")
# For what never becomes healthy, and yet has to start on a busy machine.
SOON = ("--health-timeout-s", "8")
# The first engines whose own frontend of Dockerfiles knows these.
KNOWS_HEREDOCS, KNOWS_START_INTERVAL = 23, 25


@pytest.fixture(scope="module", autouse=True)
def _base_images(machine: Machine) -> None:
    ensure_images(machine.client)


@dataclass
class Owner:
    """Whoever owns one of the repositories, at the command line.

    Attributes:
        project: the app and its repository.
        files: what the newest commit holds.
    """

    project: Project
    files: dict[str, Content] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The app's name."""
        return self.project.name

    def set(self, *options: str) -> None:
        """Change the app's settings."""
        self.project.keystone.command("app", "set", self.name, *options, "--json")

    def set_variable(self, variable: str, value: str, *options: str) -> None:
        """Set one of the app's variables."""
        words = [variable] if "--secret" in options else [f"{variable}={value}"]
        stdin = value if "--secret" in options else ""
        done = self.project.keystone.run("env", "set", self.name, *words, *options, stdin=stdin)
        assert done.returncode == 0, done.stderr

    def push(self, changes: Mapping[str, Content] | None = None) -> Json:
        """Commit files and push, and give the deployment once it has ended."""
        self.files |= changes or {}
        sha = self.project.repo.commit(self.files)
        return self.project.keystone.wait_for(self.project.push(sha)["id"])

    def replace(self, path: str, old: str, new: str) -> Json:
        """Change one text of a file, and push."""
        before = self.files[path]
        text = before.decode() if isinstance(before, bytes) else before
        assert isinstance(text, str)
        assert old in text
        return self.push({path: text.replace(old, new)})

    def deploy(self) -> Json:
        """Deploy the branch by hand, and give the deployment once it has ended."""
        keystone = self.project.keystone
        return keystone.wait_for(keystone.command("deploy", self.name, "--json")["id"])

    def get(self, path: str = "/", **headers: str) -> httpx2.Response:
        """Visit the app."""
        url = f"http://127.0.0.1:{self.project.port}{path}"
        return httpx2.get(url, headers=headers, timeout=ANSWER_WITHIN_S, trust_env=False)


@dataclass(frozen=True)
class Owners:
    """Adds apps for repositories."""

    keystone: Keystone
    server: GitServer

    def add(self, name: str, *options: str) -> Owner:
        """Add the app of one of the repositories as its owner would: `keystone app add`."""
        repo = self.server.repository(f"octo/{name}")
        known = ("--repository", f"octo/{name}", "--git-url", repo.url, "--token-stdin")
        app = self.keystone.command(
            "app", "add", name, *known, "--json", *PATIENT, *options, stdin=TOKEN
        )
        project = Project(
            self.keystone, name, repo, app["id"], app["host_port"], app["webhook"]["secret"]
        )
        return Owner(project, files_of(name))


@pytest.fixture
def owners(keystone: Keystone, git_server: GitServer) -> Owners:
    return Owners(keystone, git_server)


def live(deployment: Json) -> None:
    """Check that a deployment went live."""
    assert deployment["state"] == "success", deployment["reason"]


def assert_told(deployment: Json, *facts: str, state: str = "failure") -> None:
    """Check that a deployment did not go live, and that its reason has these facts."""
    assert deployment["state"] == state, deployment["reason"]
    assert [fact for fact in facts if fact not in deployment["reason"]] == [], deployment["reason"]


def engine_version(machine: Machine) -> int:
    """Give the engine's first number."""
    return int(machine.client.version()["Version"].partition(".")[0])


@pytest.fixture(scope="module")
def chat(keystone: Keystone, git_server: GitServer) -> Owner:
    """A server for Node.js that listens where $PORT says."""
    chat = Owners(keystone, git_server).add("node")
    live(chat.push())
    return chat


def test_node_listens_at_the_port_that_the_variable_names(chat: Owner) -> None:
    assert chat.get().text == "hello from Node.js\n"


def test_php_keeps_what_its_visitors_and_cron_write_in_two_volumes(owners: Owners) -> None:
    volumes = ("--volumes", "uploads:/var/www/uploads", "--volumes", "data:/var/www/data")
    gallery = owners.add("php", "--container-port", "80", *volumes)
    live(gallery.push())
    gallery.project.tell("/")
    live(gallery.replace("public/index.php", '" uploads', '" pictures'))
    seen = "1 pictures\ncron ran as www-data\n"
    until(lambda: gallery.get().text == seen, timeout=ANSWER_WITHIN_S, what="cron has run")


def test_what_dockerignore_excludes_is_not_in_the_image(owners: Owners) -> None:
    notes = owners.add("dockerignore")
    live(notes.push())
    assert notes.get().text == "package.json src"
