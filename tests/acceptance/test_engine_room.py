"""The settings with which the real engine builds and runs an app: variables, volumes, limits."""

import secrets
import tarfile
from collections.abc import Iterator
from io import BytesIO

import httpx2
import pytest
from docker.errors import NotFound

from jobs.rules.naming import shown_tag
from tests.acceptance.keystone import Json, Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.payloads import NO_COMMIT
from tests.acceptance.project import Nap, Project, add_project
from tests.acceptance.test_secrets import found
from tests.gitserver import GitServer
from tests.images import DOCKERFILE

pytestmark = pytest.mark.docker

MIB = 1024 * 1024
SEEN_WITHIN_S = 60
# It has characters that URLs encode, and occurs nowhere else.
PLANTED = "planted/Env0+Secret1With2Thirty="


def put(project: Project, name: str, value: str, *, secret: bool = False) -> None:
    path = f"/api/apps/{project.name}/env/{name}"
    project.keystone.api("PUT", path, {"value": value, "secret": secret})


def change(project: Project, **fields: object) -> None:
    project.keystone.api("PATCH", f"/api/apps/{project.name}", fields)


def redeploy(project: Project) -> Json:
    """Deploy the branch by hand, and give the deployment once it has ended."""
    asked = project.keystone.api("POST", f"/api/apps/{project.name}/deployments")
    over = project.keystone.wait_for(asked["id"])
    assert over["state"] == "success", over["reason"]
    return over


def deployed(project: Project, version: str, **files: str) -> Json:
    over = project.deploy(version, **files)
    assert over["state"] == "success", over["reason"]
    return over


def steps(deployment: Json) -> dict[str, str]:
    return {step["name"]: step["state"] for step in deployment["steps"]}


# --- Variables -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(keystone: Keystone, git_server: GitServer) -> Project:
    """An app deployed with a variable and a secret."""
    project = add_project(keystone, git_server, "told")
    put(project, "MODE", "first")
    put(project, "TOKEN", PLANTED, secret=True)
    deployed(project, "one")
    return project


class TestVariables:
    def test_the_container_has_the_variable_and_the_secret(self, told: Project) -> None:
        assert told.answer("/env?MODE") == "first"
        assert told.answer("/env?TOKEN") == PLANTED

    def test_a_change_waits_for_a_redeploy_which_builds_nothing(self, told: Project) -> None:
        assert told.view()["needs_redeploy"] is False
        put(told, "MODE", "second")
        assert told.view()["needs_redeploy"] is True
        assert told.answer("/env?MODE") == "first"
        over = redeploy(told)
        assert (over["state"], steps(over)["build"]) == ("success", "skipped")
        assert told.answer("/env?MODE") == "second"
        assert told.view()["needs_redeploy"] is False

    def test_an_unset_variable_is_gone_after_a_redeploy(
        self, keystone: Keystone, told: Project
    ) -> None:
        put(told, "SHORT_LIVED", "here")
        redeploy(told)
        assert told.answer("/env?SHORT_LIVED") == "here"
        assert keystone.run("env", "unset", "told", "SHORT_LIVED").returncode == 0
        redeploy(told)
        assert told.answer("/env?SHORT_LIVED") == "not set\n"

    def test_secrets_in_the_output_of_an_app_are_masked(
        self, keystone: Keystone, told: Project
    ) -> None:
        told.answer(f"/say?heard-{PLANTED}-well")

        def heard() -> list[str]:
            lines = keystone.ask("GET", "/api/apps/told/logs").text.splitlines()
            return [line for line in lines if line.startswith("heard")]

        assert until(heard, timeout=SEEN_WITHIN_S) == ["heard-[REDACTED]-well"]
        shown = keystone.run("logs", "told")
        assert shown.returncode == 0, shown.stderr
        assert "listening on 8000" in shown.stdout
        assert "heard-[REDACTED]-well" in shown.stdout

    def test_the_secret_is_in_no_log_answer_file_or_image(
        self, keystone: Keystone, told: Project, machine: Machine
    ) -> None:
        over = told.deploy("dies", behaviour="exit 3")
        assert over["state"] == "failure"
        ids = [deployment["id"] for deployment in keystone.deployments("told")]
        paths = ["/api/apps/told", "/api/apps/told/env", "/api/apps/told/env/TOKEN", "/api/audit"]
        paths += ["/api/apps/told/releases", "/api/apps/told/container", "/api/apps/told/logs"]
        paths += [path for n in ids for path in (_of(n), f"{_of(n)}/logs")]
        answers = "\n".join(keystone.ask("GET", path).text for path in paths)
        assert found([PLANTED], answers + keystone.log()) == []
        assert found([PLANTED], machine.image_contents("told")) == []
        database = (keystone.data_dir / "keystone.db").read_bytes().decode("latin-1")
        assert found([PLANTED], database) == []


def _of(deployment_id: int) -> str:
    return f"/api/deployments/{deployment_id}"


# --- Builds ----------------------------------------------------------------------------------


SEASONED = """\
FROM scratch
ARG SEASON
ARG MODE
ENV BAKED=${SEASON} NOT_BAKED=${MODE}
COPY web /web
COPY version.txt behaviour /
RUN --mount=type=secret,id=REGISTRY_TOKEN,required ["/web", "cat", "/run/secrets/REGISTRY_TOKEN"]
CMD ["/web"]
"""


@pytest.fixture(scope="module")
def cooked(keystone: Keystone, git_server: GitServer) -> Project:
    """An app whose build is given one variable as an argument and one as a secret."""
    project = add_project(
        keystone,
        git_server,
        "cooked",
        build_args=["SEASON", "NEVER_SET"],
        build_secrets=["REGISTRY_TOKEN"],
    )
    put(project, "SEASON", "autumn")
    put(project, "MODE", "fast")
    put(project, "REGISTRY_TOKEN", PLANTED, secret=True)
    # The engine remembers a step that read a secret, whatever the secret was.
    deployed(project, f"never built before: {secrets.token_hex(8)}", dockerfile=SEASONED)
    return project


class TestBuilds:
    def test_an_argument_reaches_the_build_and_other_variables_do_not(
        self, cooked: Project
    ) -> None:
        assert cooked.answer("/env?BAKED") == "autumn"
        assert cooked.answer("/env?NOT_BAKED") == ""

    def test_a_build_secret_is_read_by_its_step_and_left_nowhere(
        self, keystone: Keystone, cooked: Project, machine: Machine
    ) -> None:
        transcript = keystone.transcript(keystone.deployments(cooked.name)[-1]["id"])
        assert "[REDACTED]" in transcript
        assert found([PLANTED], transcript) == []
        assert found([PLANTED], machine.image_contents("cooked")) == []

    def test_a_changed_build_argument_makes_another_image(self, cooked: Project) -> None:
        put(cooked, "SEASON", "winter")
        over = redeploy(cooked)
        assert (over["state"], steps(over)["build"]) == ("success", "success")
        assert cooked.answer("/env?BAKED") == "winter"

    def test_a_changed_build_secret_makes_no_other_image(self, cooked: Project) -> None:
        put(cooked, "REGISTRY_TOKEN", f"{PLANTED}2", secret=True)
        over = redeploy(cooked)
        assert (over["state"], steps(over)["build"]) == ("success", "skipped")


# --- Pushes ----------------------------------------------------------------------------------


def test_a_newer_push_replaces_the_one_that_is_being_built(
    keystone: Keystone, git_server: GitServer
) -> None:
    web = add_project(keystone, git_server, "impatient", on_new_push="replace")
    # Nobody ever wakes it: whoever waited for it would wait for days.
    slow = web.push(web.commit("slow", dockerfile=Nap().dockerfile))
    keystone.wait_for_step(slow["id"], "build")
    newer = web.push(web.commit("newer"))
    old = keystone.wait_for(slow["id"])
    assert (old["state"], old["reason"]) == ("superseded", "#2 is a newer push")
    over = keystone.wait_for(newer["id"])
    assert over["state"] == "success", over["reason"]
    assert web.answer() == "newer"


def test_pushes_deploy_what_they_touch_and_tags_what_they_name(
    keystone: Keystone, git_server: GitServer
) -> None:
    web = add_project(
        keystone, git_server, "picky", watch_paths=["/version.*,Dockerfile"], tag_pattern="v*"
    )
    assert keystone.wait_for(web.push(web.commit("new branch"))["id"])["state"] == "success"
    documents = web.payload(web.commit("documents"), touched=("README.md", "docs/version.txt"))
    answer = web.send(documents)
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert (
        answer.json()["reason"] == "it touched nothing that picky watches (version.*, Dockerfile)"
    )
    assert web.answer() == "new branch"
    code = web.send(web.payload(web.commit("code"), touched=("README.md", "version.txt")))
    assert code.status_code == 202
    assert keystone.wait_for(code.json()["deployments"][0]["id"])["state"] == "success"
    assert web.answer() == "code"
    # The payload says what its commits touched; the trees say that nothing of it is left.
    reverted = web.send(web.payload(web.commit("code", behaviour=" "), touched=("version.txt",)))
    unchanged = keystone.wait_for(reverted.json()["deployments"][0]["id"])
    assert (unchanged["state"], unchanged["release"]) == ("success", None)
    assert unchanged["reason"].startswith("nothing to do: v2 is live")
    sha = web.commit("tagged")
    for name in ("nightly", "v1.0"):
        web.repo.point(f"refs/tags/{name}", sha)
    nightly = web.send(web.payload(sha, ref="refs/tags/nightly", before=NO_COMMIT))
    assert nightly.json()["reason"] == "picky deploys tags like v*, not tag nightly"
    tagged = web.send(web.payload(sha, ref="refs/tags/v1.0", before=NO_COMMIT))
    over = keystone.wait_for(tagged.json()["deployments"][0]["id"])
    assert (over["state"], over["commit_sha"]) == ("success", sha)
    assert web.answer() == "tagged"


# --- Health ----------------------------------------------------------------------------------


def test_each_app_sets_its_healthy_statuses(keystone: Keystone, git_server: GitServer) -> None:
    web = add_project(keystone, git_server, "odd", health_path="/nowhere", health_status="404")
    deployed(web, "one")
    change(web, health_status="200-399", health_timeout_s=10)
    over = web.deploy("two")
    assert over["state"] == "failure"
    assert "last seen: status 404" in over["reason"]
    assert web.answer() == "one"


def test_the_images_own_health_check_decides_when_no_path_is_named(
    keystone: Keystone, git_server: GitServer
) -> None:
    web = add_project(keystone, git_server, "self-checked", health_path=None, health_timeout_s=60)
    over = deployed(web, "one", dockerfile=checked_by("cat", "/version.txt"))
    transcript = keystone.transcript(over["id"])
    assert "port 8000 answered and Docker says healthy" in transcript
    told = keystone.container("self-checked")
    assert (told["state"], told["health"]) == ("running", "healthy")
    change(web, health_timeout_s=5)
    bad = web.deploy("two", dockerfile=checked_by("exit", "1"))
    assert bad["state"] == "failure"
    assert "the image's own health check was not healthy within 6 s" in bad["reason"]
    assert web.answer() == "one"


def checked_by(*command: str) -> str:
    words = ", ".join(f'"{word}"' for word in ("/web", *command))
    return f"{DOCKERFILE}HEALTHCHECK --interval=300ms --retries=2 CMD [{words}]\n"


# --- Containers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(keystone: Keystone, git_server: GitServer) -> Project:
    """An app that is live."""
    project = add_project(keystone, git_server, "mortal", memory_mb=32)
    deployed(project, "one")
    return project


def becomes(project: Project, state: str, reason: str = "") -> None:
    """Wait until the app has that state and reason; the full reason may appear later."""

    def look() -> bool:
        view = project.view()
        return view["state"] == state and reason in view["state_reason"]

    until(look, timeout=SEEN_WITHIN_S, what=f"{project.name} is {state}: {reason}")


def now(project: Project) -> Json:
    """Give Docker's state of the app's container."""
    return project.keystone.container(project.name)


class TestContainers:
    def test_a_containers_state_and_output_can_be_read(
        self, keystone: Keystone, mortal: Project, machine: Machine
    ) -> None:
        told = now(mortal)
        assert (told["id"], told["state"]) == (machine.container("mortal").id, "running")
        assert (told["restarts"], told["exit_code"], told["reason"]) == (0, None, "")
        mortal.answer("/say?one")
        mortal.answer("/say?two")

        def last() -> httpx2.Response:
            return keystone.ask("GET", "/api/apps/mortal/logs?tail=1")

        until(lambda: last().text == "two\n", timeout=SEEN_WITHIN_S, what="Docker has written it")
        assert last().headers["content-type"] == "text/plain; charset=utf-8"

    def test_a_containers_memory_is_limited(self, mortal: Project, machine: Machine) -> None:
        limits = machine.limits(mortal.name)
        assert (limits["Memory"], limits["MemorySwap"]) == (32 * MIB, 32 * MIB)

    def test_a_crashed_container_is_restarted_and_counted(self, mortal: Project) -> None:
        mortal.tell("/exit?code=3")
        until(lambda: mortal.answer() == "one", timeout=SEEN_WITHIN_S, what="it answers again")
        # The app may answer before Docker reports it as running.
        until(lambda: now(mortal)["state"] == "running", timeout=SEEN_WITHIN_S, what="it runs")
        assert now(mortal)["restarts"] == 1
        becomes(mortal, "running")

    def test_a_killed_container_is_noticed_and_a_deployment_replaces_it(
        self, mortal: Project, machine: Machine
    ) -> None:
        machine.container("mortal").kill()
        becomes(mortal, "stopped", "exited with code 137")
        assert (now(mortal)["state"], now(mortal)["exit_code"]) == ("exited", 137)
        assert redeploy(mortal)["state"] == "success"
        assert mortal.answer() == "one"
        becomes(mortal, "running")

    def test_a_removed_container_is_noticed_and_a_deployment_replaces_it(
        self, mortal: Project, machine: Machine
    ) -> None:
        machine.container("mortal").remove(force=True)
        becomes(mortal, "stopped", "does not exist any more")
        assert now(mortal)["state"] == "missing"
        assert redeploy(mortal)["state"] == "success"
        assert mortal.answer() == "one"

    def test_a_container_out_of_memory_ends_with_that_reason(self, mortal: Project) -> None:
        change(mortal, restart="no")
        assert redeploy(mortal)["state"] == "success"
        mortal.tell("/eat?mb=64")
        # An earlier release may serve again by now, which depends on how long each of them ran.
        until(
            lambda: "out of memory" in mortal.view()["state_reason"],
            timeout=SEEN_WITHIN_S,
            what="the reason is shown",
        )


# --- What is kept ----------------------------------------------------------------------------


def test_a_volume_survives_every_deployment_and_the_apps_removal(
    keystone: Keystone, git_server: GitServer, machine: Machine
) -> None:
    web = add_project(keystone, git_server, "keeper", volumes=["notes:/notes"])
    deployed(web, "one")
    mounts = machine.container("keeper").attrs["Mounts"]
    volume = machine.client.volumes.get(mounts[0]["Name"])
    try:
        machine.run_inside("keeper", "/web", "write", "/notes/a", "kept")
        deployed(web, "two")
        assert web.answer() == "two"
        assert machine.run_inside("keeper", "/web", "cat", "/notes/a") == "kept"
        keystone.api("DELETE", "/api/apps/keeper")
        until(
            lambda: not any("keeper" in name for name in _containers(keystone)),
            timeout=SEEN_WITHIN_S,
            what="the container of the removed app is gone",
        )
        volume.reload()
    finally:
        _remove_volume(machine, volume.name)


def _containers(keystone: Keystone) -> list[str]:
    belongings = keystone.belongings()
    try:
        return belongings.containers()
    finally:
        belongings.close()


def _remove_volume(machine: Machine, name: str) -> None:
    for container in machine.client.containers.list(all=True, filters={"volume": name}):
        container.remove(force=True)
    machine.client.volumes.get(name).remove()


class TestPruning:
    KEPT = 3

    @pytest.fixture
    def foreign(self, machine: Machine) -> Iterator[str]:
        """An image, a stopped container, a network and a volume that are not Keystone's."""
        name = f"somebodys-{secrets.token_hex(4)}"
        client = machine.client
        client.api.import_image_from_data(_tar("hello", b"world"), repository=name, tag="1")
        container = client.containers.create(f"{name}:1", ["/hello"], name=name)
        network = client.networks.create(name)
        volume = client.volumes.create(name)
        yield name
        for thing in (container, network, volume):
            thing.remove()
        client.images.remove(f"{name}:1")

    def test_old_images_are_removed_and_foreign_objects_stay(
        self, keystone: Keystone, git_server: GitServer, machine: Machine, foreign: str
    ) -> None:
        web = add_project(keystone, git_server, "tidy", keep_releases=self.KEPT)
        for number in range(8):
            deployed(web, f"version {number}")
        until(
            lambda: len(machine.image_tags("tidy")) <= self.KEPT,
            timeout=SEEN_WITHIN_S,
            what=f"only {self.KEPT} images are left: {machine.image_tags('tidy')}",
        )
        kept = keystone.api("GET", "/api/apps/tidy/releases")["items"][: self.KEPT]
        assert [release["number"] for release in kept] == [8, 7, 6]
        shown = sorted(map(shown_tag, machine.image_tags("tidy")))
        assert shown == sorted(release["image"] for release in kept)
        assert _is_there(machine, foreign)


def _is_there(machine: Machine, name: str) -> bool:
    client = machine.client
    try:
        client.images.get(f"{name}:1")
        client.containers.get(name)
        client.volumes.get(name)
    except NotFound:
        return False
    return bool(client.networks.list(names=[name]))


def _tar(name: str, content: bytes) -> bytes:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, BytesIO(content))
    return archive.getvalue()
