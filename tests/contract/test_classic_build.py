"""Builds by the engine's older builder, which Keystone uses without BuildKit sessions."""

import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import pytest
from pydantic import SecretStr

from jobs.adapters.docker.address import engine_address
from jobs.adapters.docker.classic_build import LACKS, ClassicBuilder
from jobs.adapters.docker.engine import DockerEngine
from jobs.adapters.ports import Tree
from jobs.errors import BuildError, CancelledError, DockerError, GitError
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import labels
from jobs.rules.stopping import StopSignal
from tests.build_events import shown_to
from tests.enginebench import IDENTITY, build, dockerfile, long_sleep, sweep, tag_of, wait_until
from tests.images import AppFiles, app_files
from tests.processes import processes_about
from tests.trees import BrokenTree, MemoryTree

pytestmark = pytest.mark.docker

TAG = tag_of("classic")
SPEC = BuildSpec(TAG, "Dockerfile", labels(IDENTITY, "web"), deadline_s=60)


@dataclass
class Bench:
    """The older builder of the real engine."""

    client: docker.DockerClient

    def build(self, tree: Tree | AppFiles, spec: BuildSpec = SPEC, **limits: StopSignal) -> str:
        """Build an image, and give the log as one text."""
        lines: list[str] = []
        builder = ClassicBuilder(engine_address(self.client.api), self.client.api.api_version)
        tree = MemoryTree(tree) if isinstance(tree, dict) else tree
        builder.build(spec, tree, log=shown_to(lines.append), stop=limits.get("stop", StopSignal()))
        return "\n".join(lines)

    def containers(self, word: str) -> list[str]:
        """Give the containers, including stopped ones, whose command contains that word."""
        found = self.client.api.containers(all=True)
        return [str(each["Id"]) for each in found if word in each["Command"]]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    client = docker.from_env(timeout=60)
    yield Bench(client)
    sweep(client)
    client.close()


def test_image_is_built_tagged_and_labelled_and_the_log_says_what_is_missing(bench: Bench) -> None:
    log = bench.build(dockerfile('RUN ["/web", "say", "from the older builder"]'))

    assert log.splitlines()[0] == LACKS
    assert "from the older builder" in log.splitlines()
    assert bench.client.images.get(TAG).labels == SPEC.labels


def test_no_output_of_a_step_is_taken_for_a_line_of_buildkit(bench: Bench) -> None:
    log = bench.build(dockerfile('RUN ["/web", "say", "#4 DONE 0.1s"]'))

    assert "| #4 DONE 0.1s" in log.splitlines()
    assert "#4 DONE 0.1s" not in log.splitlines()


def test_dockerignore_modes_links_and_odd_names_are_as_by_buildkit(bench: Bench) -> None:
    files = {
        **dockerfile("COPY . /all/", 'RUN ["/web", "list", "/all"]'),
        ".dockerignore": "\ufeff# all but these\n*\n!web\n!src\nsrc/**/*.log\n!src/deep/keep.log\n"
        "!run.sh\n!link\n!a b\n!long\n",
        "secret.txt": "x",
        "run.sh": "x",
        "src/a.log": "x",
        "src/deep/keep.log": "x",
        "a b/ü*.txt": "x",
        f"long/{'n' * 120}/{'m' * 120}": "x",
    }
    tree = MemoryTree(files, executables=("web", "run.sh"), links={"link": "a b/ü*.txt"})
    by_buildkit: list[str] = []
    build(DockerEngine(bench.client, IDENTITY), tree, log=by_buildkit.append)

    listed = {line for line in bench.build(tree).splitlines() if line.startswith("/all")}

    told = (line.partition(" | ")[2] for line in by_buildkit)
    assert listed == {line for line in told if line.startswith("/all")}
    assert {"/all/run.sh f 755", "/all/a b/ü*.txt f 644", "/all/link l 777"} <= listed
    assert not any("secret" in line or "a.log" in line for line in listed)


def test_big_files_are_sent_whole(bench: Bench) -> None:
    files = {**dockerfile("COPY big /", 'RUN ["/web", "list", "/"]'), "big": b"x" * 30_000_001}
    bench.build(files)

    assert bench.client.images.get(TAG).attrs["Size"] > 30_000_000


def test_build_arguments_target_and_folder_are_passed_on(bench: Bench) -> None:
    text = "FROM scratch AS first\nARG A=no\nLABEL said=$A\nFROM first\nLABEL said=never\n"
    spec = replace(SPEC, dockerfile="sub/Dockerfile", target="first", args={"A": SecretStr("yes")})
    bench.build({"sub/Dockerfile": text, ".dockerignore": "sub"}, spec)

    assert bench.client.images.get(TAG).labels["said"] == "yes"


def test_failing_step_is_named_with_its_exit_code_and_leaves_no_container(bench: Bench) -> None:
    mark = secrets.token_hex(8)
    step = f'RUN ["/web", "exit", "7", "{mark}"]'
    with pytest.raises(BuildError) as failure:
        bench.build(dockerfile(step))

    told = f'the build failed: exiting with code 7, at "{step}" (line 4 of Dockerfile): exit code 7'
    assert str(failure.value) == told
    assert bench.containers(mark) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM scratch\nFETCH all\n", r"^the build failed: .*unknown instruction: FETCH"),
        ("FROM scratch\nCOPY absent /x\n", r"^the build failed: absent is not in the repository"),
    ],
)
def test_wrong_dockerfile_is_explained(bench: Bench, text: str, reason: str) -> None:
    with pytest.raises(BuildError, match=reason):
        bench.build(app_files("one", dockerfile=text))


def test_missing_dockerfile_is_named(bench: Bench) -> None:
    with pytest.raises(BuildError, match="there is no Dockerfile at Dockerfile in the commit"):
        bench.build({"web": "x"})


def test_build_secrets_are_refused_in_a_sentence(bench: Bench) -> None:
    with pytest.raises(BuildError, match="this engine has no BuildKit to give them"):
        bench.build(dockerfile(), replace(SPEC, secrets={"token": SecretStr("x")}))


def test_more_patterns_than_the_files_allow_are_refused(bench: Bench) -> None:
    files: AppFiles = {f"d{n}/f": "x" for n in range(5000)}
    files |= dockerfile() | {".dockerignore": "\n".join(f"q{n}" for n in range(6000))}

    with pytest.raises(BuildError, match=r"^the 6002 patterns of \.dockerignore"):
        bench.build(files)


def test_build_of_an_unreadable_commit_raises_the_trees_error(bench: Bench) -> None:
    with pytest.raises(GitError, match="no pack"):
        bench.build(BrokenTree(dockerfile(), broken="version.txt", error=GitError("no pack")))


def test_build_past_its_deadline_is_cancelled_and_leaves_nothing(bench: Bench) -> None:
    seconds = long_sleep()
    with pytest.raises(BuildError, match=r"^the build took longer than 2 s$"):
        bench.build(dockerfile(f'RUN ["/web", "sleep", "{seconds}"]'), replace(SPEC, deadline_s=2))

    wait_until(lambda: not processes_about(seconds))
    wait_until(lambda: not bench.containers(seconds))


def test_stopped_build_ends_at_once(bench: Bench) -> None:
    seconds = long_sleep()
    stop = StopSignal()

    def cancel() -> None:
        wait_until(lambda: bool(processes_about(seconds)))
        stop.set(CancelledError("ada said so"))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledError, match="ada said so"):
        bench.build(dockerfile(f'RUN ["/web", "sleep", "{seconds}"]'), stop=stop)
    canceller.join(60)
    wait_until(lambda: not processes_about(seconds))


# --- Detecting an engine without sessions ----------------------------------------------------


class SessionlessEngine:
    """A proxy of the real engine without build sessions: it refuses `POST /session`.

    Attributes:
        is_podman: whether it says of itself, as Podman does, that it is Podman.
    """

    def __init__(self, folder: Path, refusal: int, *, is_podman: bool = True) -> None:
        self.is_podman = is_podman
        self.path = folder / "engine.sock"
        self._refusal = refusal
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the proxy has ended
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, connection: socket.socket) -> None:
        with connection, socket.socket(socket.AF_UNIX) as engine:
            engine.connect("/var/run/docker.sock")
            first = connection.recv(65536)
            if b"/session HTTP" in first:
                connection.sendall(
                    b"HTTP/1.1 %d Nothing here\r\nContent-Length: 0\r\n\r\n" % self._refusal
                )
                return
            if self.is_podman and b"/_ping HTTP" in first:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n"
                    b"Content-Length: 2\r\n\r\nOK"
                )
                return
            engine.sendall(first)
            back = threading.Thread(target=_copy, args=(engine, connection), daemon=True)
            back.start()
            _copy(connection, engine)
            back.join(60)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other direction ended first
        return


@pytest.mark.parametrize("refusal", [404, 501])
def test_docker_without_sessions_builds_nothing_wrong(tmp_path: Path, refusal: int) -> None:
    front = SessionlessEngine(tmp_path, refusal, is_podman=False)
    client = docker.DockerClient(base_url=f"unix://{front.path}", timeout=60)
    engine = DockerEngine(client, IDENTITY)
    try:
        with pytest.raises(DockerError, match="update Keystone, or use an older engine"):
            build(engine, dockerfile("RUN <<EOF", "/web say hello", "EOF"), tag=tag_of("refused"))
        assert engine.image_id(tag_of("refused")) is None
    finally:
        client.close()
        front.close()


@pytest.mark.parametrize("refusal", [404, 501])
def test_podman_without_sessions_builds_all_the_same(tmp_path: Path, refusal: int) -> None:
    front = SessionlessEngine(tmp_path, refusal)
    client = docker.DockerClient(base_url=f"unix://{front.path}", timeout=60)
    lines: list[str] = []
    try:
        image_id = build(DockerEngine(client, IDENTITY), app_files("one"), log=lines.append)
        assert client.images.get(image_id).labels == SPEC.labels
    finally:
        client.close()
        front.close()

    assert image_id.startswith("sha256:")
    assert lines[0] == LACKS


def test_engine_that_refuses_a_session_for_another_reason_is_a_docker_error(
    tmp_path: Path,
) -> None:
    front = SessionlessEngine(tmp_path, 500)
    client = docker.DockerClient(base_url=f"unix://{front.path}", timeout=60)
    try:
        with pytest.raises(DockerError, match=r"refused a build session \(500\)"):
            build(DockerEngine(client, IDENTITY), app_files("one"))
    finally:
        client.close()
        front.close()
