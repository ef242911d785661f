"""Twelve ordinary repositories: each goes live with the settings that its owner would choose.

Where one does not, the deployment's reason names the one thing to change; the test changes it.
The owner uses the command line, and knows no more than README.md says.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.acceptance.conftest import TOKEN
from tests.acceptance.keystone import ANSWER_WITHIN_S, Json, Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.project import Project
from tests.debian_image import ensure_images
from tests.gitserver import Content, GitServer, Removed, Submodule
from tests.repositories import files_of

pytestmark = pytest.mark.docker

# The default of 30 s is for machines that are not as busy as one that runs tests.
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


def test_nginx_serves_at_the_port_that_its_image_exposes(owners: Owners, machine: Machine) -> None:
    bakery = owners.add("nginx")
    live(bakery.push())
    assert "Fresh bread" in bakery.get().text
    # nginx ends its requests on SIGQUIT, and cuts them on SIGTERM.
    assert machine.container("nginx").attrs["Config"]["StopSignal"] == "SIGQUIT"


@pytest.fixture(scope="module")
def chat(keystone: Keystone, git_server: GitServer) -> Owner:
    """A server for Node.js that listens where $PORT says."""
    chat = Owners(keystone, git_server).add("node")
    live(chat.push())
    return chat


def test_node_listens_at_the_port_that_the_variable_names(chat: Owner) -> None:
    assert chat.get().text == "hello from Node.js\n"


def test_node_at_a_port_of_its_own_is_told_the_option_that_chooses_it(chat: Owner) -> None:
    chat.set(*SOON)
    deployed = chat.replace("server.js", "process.env.PORT || 3000", "3000")
    assert_told(deployed, "listens on port 3000", "keystone app set node --container-port 3000")
    chat.set("--container-port", "3000", *PATIENT)
    live(chat.deploy())
    assert chat.get().text == "hello from Node.js\n"


def test_node_that_serves_only_its_own_container_is_told_the_right_address(chat: Owner) -> None:
    chat.set(*SOON)
    deployed = chat.replace("server.js", '"0.0.0.0"', '"127.0.0.1"')
    assert_told(deployed, "it listens on 127.0.0.1:", " only", "let it listen on 0.0.0.0:")
    chat.set(*PATIENT)
    live(chat.replace("server.js", '"127.0.0.1"', '"0.0.0.0"'))


def test_gunicorn_that_refuses_the_health_checks_host_is_told_the_setting(owners: Owners) -> None:
    shop = owners.add("gunicorn", "--health-path", "/health", *SOON)
    told = ("400", "Host", "localhost", "Invalid HTTP_HOST header", "--health-host")
    assert_told(shop.push(), *told)
    shop.set("--health-host", "shop.example.com", *PATIENT)
    live(shop.deploy())
    assert shop.get(Host="shop.example.com").text == "the shop is open\n"


def test_django_with_a_health_check_of_the_image(owners: Owners, machine: Machine) -> None:
    blog = owners.add("django", "--domains", "blog.example.com")
    blog.set_variable("DJANGO_SECRET_KEY", "django-insecure-4x7w2m9q", "--secret")
    blog.set_variable("DJANGO_ALLOWED_HOSTS", "blog.example.com,localhost")
    deployed = blog.push()
    if engine_version(machine) < KNOWS_START_INTERVAL:
        assert_told(deployed, "start-interval", "line 6", "# syntax=docker/dockerfile:1")
        deployed = blog.replace("Dockerfile", " --start-interval=1s", "")
    live(deployed)
    assert blog.get(Host="blog.example.com").text == "the blog at blog.example.com\n"


def test_hugo_without_its_theme_is_told_of_the_submodule(owners: Owners) -> None:
    diary = owners.add("hugo")
    diary.files["themes/paper"] = Submodule("6" * 40)
    assert_told(diary.push(), "the submodule themes/paper", 'module "paper" not found')
    theme = "themes/paper/layouts/_default/single.html"
    page = "<h1>{{ .Title }}</h1>{{ .Content }}"
    vendored: dict[str, Content] = {
        "themes/paper": Removed(),
        ".gitmodules": Removed(),
        theme: page,
    }
    live(diary.push(vendored))
    assert diary.get("/monday/").text == "<h1>Monday</h1><p>It rained.</p>"


def test_a_model_that_is_an_lfs_pointer_is_named(owners: Owners) -> None:
    model = owners.add("lfs")
    told = ("model.pickle", "Git LFS", "UnpicklingError: invalid load key, 'v'")
    assert_told(model.push(), *told)
    live(model.push({"model.pickle": pickle.dumps({"answer": 42})}))
    assert model.get().text == "the answer is 42\n"


def test_spring_in_a_folder_of_a_larger_repository(owners: Owners) -> None:
    orders = owners.add("spring", "--context", "backend", "--watch-paths", "backend/**")
    assert_told(orders.push(), "Failed to configure a DataSource: 'url' attribute")
    orders.set_variable("spring.datasource.url", "jdbc:postgresql://db/orders")
    live(orders.deploy())
    assert orders.get("/orders").json() == {"database": "jdbc:postgresql://db/orders"}

    sha = orders.project.repo.commit({"frontend/main.js": "export const title = 'New';\n"})
    page = orders.project.payload(sha, touched=("frontend/main.js",))
    answer = orders.project.send(page).json()
    assert answer["status"] == "ignored"
    assert "backend/**" in answer["reason"]


def test_rails_that_cannot_write_its_volume_is_told_the_lines_that_mend_it(
    owners: Owners, machine: Machine
) -> None:
    notes = owners.add("rails", "--health-path", "/up", "--volumes", "storage:/rails/storage")
    told = ("Permission denied", "the volume at /rails/storage", "chown 1000 /rails/storage")
    assert_told(notes.push(), *told)
    owned = "COPY . .\nRUN mkdir -p storage && chown 1000:1000 storage\n"
    live(notes.replace("Dockerfile", "COPY . .\n", owned))
    live(notes.deploy())
    assert (notes.get("/up").status_code, notes.get().status_code) == (200, 301)
    prepared = machine.run_inside("rails", "cat", "storage/production.sqlite3")
    assert prepared == "prepared\nprepared\n"


def test_php_keeps_what_its_visitors_and_cron_write_in_two_volumes(owners: Owners) -> None:
    volumes = ("--volumes", "uploads:/var/www/uploads", "--volumes", "data:/var/www/data")
    gallery = owners.add("php", *volumes)
    live(gallery.push())
    gallery.project.tell("/")
    live(gallery.replace("public/index.php", '" uploads', '" pictures'))
    seen = "1 pictures\ncron ran as www-data\n"
    until(lambda: gallery.get().text == seen, timeout=ANSWER_WITHIN_S, what="cron has run")


def test_heredocs_and_cache_mounts(owners: Owners, machine: Machine) -> None:
    page = owners.add("heredocs")
    deployed = page.push()
    if deployed["state"] != "success":  # without a way to Docker Hub
        unpulled = "the Dockerfile frontend docker.io/docker/dockerfile:1 could not be pulled"
        assert_told(deployed, unpulled, state="error")
        deployed = page.replace("Dockerfile", "# syntax=docker/dockerfile:1\n", "")
    if engine_version(machine) < KNOWS_HEREDOCS and deployed["state"] != "success":
        line = "begin the Dockerfile with `# syntax=docker/dockerfile:1`"
        assert_told(deployed, line, "KEYSTONE_DOCKERFILE_FRONTEND")
    else:
        live(deployed)
        assert page.get().text == "<h1>from a heredoc</h1>\n"


def test_a_file_that_dockerignore_excludes_is_named(owners: Owners) -> None:
    notes = owners.add("dockerignore")
    live(notes.push())
    assert notes.get().text == "package.json src"
    deployed = notes.replace("Dockerfile", "COPY . .", "COPY . .\nCOPY config.json /app/")
    assert_told(deployed, "config.json is in the repository, but .dockerignore leaves it out")
    live(notes.replace(".dockerignore", "!src", "!src\n!config.json"))
    assert notes.get().text == "config.json package.json src"


def test_a_repository_without_a_dockerfile_is_told_of_the_one_in_a_folder(owners: Owners) -> None:
    pages = owners.add("bare")
    assert_told(pages.push(), "there is no Dockerfile", "--dockerfile docker/Dockerfile")
    pages.set("--dockerfile", "docker/Dockerfile")
    live(pages.deploy())
    assert "Plain pages" in pages.get().text
