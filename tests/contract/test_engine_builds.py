"""Builds of the engine adapter, on the real Docker Engine. Every image starts FROM scratch."""

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from pydantic import SecretStr

from jobs.adapters.docker.engine import DockerEngine
from jobs.errors import BuildError, CancelledError, DockerError, GitError
from jobs.rules.container_values import BuildSpec
from jobs.rules.naming import labels
from jobs.rules.redaction import Redactor
from jobs.rules.repository_values import TreeEntry
from jobs.rules.stopping import StopSignal
from tests.build_events import shown_to
from tests.enginebench import (
    IDENTITY,
    ODD_NAMES,
    TAG,
    build,
    dockerfile,
    ignore,
    long_sleep,
    printed,
    tag_of,
    wait_until,
)
from tests.images import AppFiles, app_files
from tests.registry import running_registry
from tests.trees import BrokenTree, MemoryTree

pytestmark = pytest.mark.docker

SPEC = BuildSpec(tag=TAG, dockerfile="Dockerfile", labels=labels(IDENTITY, "web"))


def processes(*words: str) -> int:
    """Count the processes on this machine with exactly these arguments."""
    wanted = b"".join(word.encode() + b"\0" for word in words)
    return sum(_arguments(path) == wanted for path in Path("/proc").glob("[0-9]*/cmdline"))


def _arguments(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process ended meanwhile
        return b""


def test_image_is_built_tagged_and_labelled(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    image_id = build(engine, app_files("one"))

    assert image_id.startswith("sha256:")
    assert engine.image_id(TAG) == image_id
    assert client.images.get(TAG).labels == {"keystone.identity": IDENTITY, "keystone.app": "web"}
    assert TAG in next(image.tags for image in engine.images() if image.id == image_id)


def test_progress_is_logged_as_readable_lines(engine: DockerEngine) -> None:
    lines: list[str] = []
    steps = 'RUN ["/web", "say", "héllo from the build"]'
    build(engine, dockerfile(steps), log=lines.append)

    step = next(line for line in lines if "héllo" in line)
    number = step.split()[0]
    assert step.startswith(f"{number} [2/2] RUN")
    assert f"{number} | héllo from the build" in lines
    assert any(line.startswith(f"{number} DONE ") for line in lines)


def test_cached_steps_are_logged_as_such(engine: DockerEngine) -> None:
    files = dockerfile()
    build(engine, files)
    lines: list[str] = []
    build(engine, files, log=lines.append)

    step = next(line for line in lines if "COPY web /web" in line)
    assert f"{step.split()[0]} CACHED" in lines


def test_second_build_reads_only_the_changed_file(engine: DockerEngine) -> None:
    key = secrets.token_hex(8)
    files = {**app_files("one"), "kept.txt": key}
    build(engine, MemoryTree(files))
    second = MemoryTree({**files, "version.txt": "two"})

    build(engine, second)

    # Newer engines, and Keystone itself, read the Dockerfile in each build.
    assert [path for path in second.reads if path != "Dockerfile"] == ["version.txt"]


def test_content_of_the_same_size_is_still_seen_as_changed(engine: DockerEngine) -> None:
    for version in ("aaa", "bbb", "aaa"):
        files = dockerfile("COPY version.txt /", 'RUN ["/web", "cat", "/version.txt"]')
        assert printed(engine, {**files, "version.txt": version}) == [version]


def test_dockerignore_with_exceptions_is_honoured(engine: DockerEngine) -> None:
    files: AppFiles = {
        **dockerfile("COPY . /all/", 'RUN ["/web", "list", "/all"]'),
        ".dockerignore": "# all but these\n*\n!web\n!src\nsrc/**/*.log\n!src/deep/keep.log\n",
        "secret.txt": "x",
        "src/main.c": "x",
        "src/a.log": "x",
        "src/deep/b.log": "x",
        "src/deep/keep.log": "x",
    }

    assert {line.split()[0] for line in printed(engine, files)} == {
        "/all",
        "/all/web",
        "/all/src",
        "/all/src/main.c",
        "/all/src/deep",
        "/all/src/deep/keep.log",
    }


def test_modes_and_links_arrive_as_committed(engine: DockerEngine) -> None:
    files = dockerfile("COPY . /all/", 'RUN ["/web", "list", "/all"]')
    tree = MemoryTree(
        {**files, "a b/ü.txt": "x", "run.sh": "x"},
        executables=("web", "run.sh"),
        links={"link": "a b/ü.txt", "out": "/etc/passwd"},
    )

    assert {
        "/all/a b d 755",
        "/all/a b/ü.txt f 644",
        "/all/run.sh f 755",
        "/all/link l 777",
        "/all/out l 777",
    } <= set(printed(engine, tree))


def test_copied_link_includes_its_target(engine: DockerEngine) -> None:
    files = {**dockerfile("COPY current/version.txt /v", 'RUN ["/web", "cat", "/v"]')}
    tree = MemoryTree({**files, "releases/1/version.txt": "one\n"}, links={"current": "releases/1"})

    assert printed(engine, tree) == ["one"]


def test_dockerfile_may_be_in_a_folder(engine: DockerEngine) -> None:
    files = app_files("one")
    files["deploy/web.Dockerfile"] = files.pop("Dockerfile")

    assert build(engine, files, dockerfile="deploy/web.Dockerfile").startswith("sha256:")


def test_big_and_many_files_are_sent_within_bounds(engine: DockerEngine) -> None:
    # The engine's requests for this many files overflow an HTTP/2 window.
    files: AppFiles = {f"many/{n % 100}/{n}": f"{n} {IDENTITY}" for n in range(9000)}
    files |= {**dockerfile("COPY . /all/"), "big": secrets.token_bytes(30_000_000)}

    assert build(engine, files).startswith("sha256:")


def test_missing_dockerfile_is_named(engine: DockerEngine) -> None:
    with pytest.raises(
        BuildError, match=r"^there is no Dockerfile at sub/Dockerfile in the commit"
    ):
        build(engine, app_files("one"), dockerfile="sub/Dockerfile")


def test_symbolic_link_as_dockerfile_is_refused(engine: DockerEngine) -> None:
    files = app_files("one")
    del files["Dockerfile"]
    tree = MemoryTree(files, links={"Dockerfile": "/etc/passwd"})

    with pytest.raises(BuildError, match="is a symbolic link"):
        build(engine, tree)


def test_failing_step_is_named_with_its_exit_code(engine: DockerEngine) -> None:
    lines: list[str] = []
    with pytest.raises(BuildError) as failure:
        build(engine, dockerfile('RUN ["/web", "exit", "7"]'), log=lines.append)

    assert str(failure.value) == (
        'the build failed: exiting with code 7, at "RUN ["/web", "exit", "7"]" '
        "(line 4 of Dockerfile): exit code 7"
    )
    assert any(line.endswith("| exiting with code 7") for line in lines)
    assert any(" ERROR: " in line for line in lines)


def test_wrong_dockerfile_is_explained(engine: DockerEngine) -> None:
    with pytest.raises(BuildError, match=r"^the build failed: .*unknown instruction: FETCH"):
        build(engine, app_files("one", dockerfile="FROM scratch\nFETCH all\n"))


def test_file_missing_in_the_context_is_named(engine: DockerEngine) -> None:
    with pytest.raises(
        BuildError,
        match=r"absent is not in the repository .*\"COPY absent /x\" \(line 4",
    ):
        build(engine, dockerfile("COPY absent /x"))


def test_build_of_an_unreadable_commit_raises_the_trees_error(engine: DockerEngine) -> None:
    # The engine does not request a file again that it has from an earlier build.
    files: AppFiles = {**dockerfile("COPY . /all/"), "version.txt": secrets.token_hex(8)}
    tree = BrokenTree(files, broken="version.txt", error=GitError("no pack"))
    started = time.monotonic()

    with pytest.raises(GitError, match="no pack"):
        build(engine, tree)
    assert time.monotonic() - started < 60  # before the deadline


def test_cancelled_build_ends_at_once_and_leaves_nothing_running(engine: DockerEngine) -> None:
    seconds = long_sleep()
    stop = StopSignal()
    running = threading.Event()

    def watch(line: str) -> None:
        if seconds in line:
            running.set()

    def cancel() -> None:
        assert running.wait(60)
        wait_until(lambda: processes("/web", "sleep", seconds) == 1)
        stop.set(CancelledError("ada said so"))

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledError, match="ada said so"):
        build(engine, dockerfile(f'RUN ["/web", "sleep", "{seconds}"]'), log=watch, stop=stop)
    canceller.join(60)
    wait_until(lambda: processes("/web", "sleep", seconds) == 0)


def test_build_past_its_deadline_is_cancelled(engine: DockerEngine) -> None:
    seconds = long_sleep()
    with pytest.raises(BuildError, match=r"^the build took longer than 2 s$"):
        build(engine, dockerfile(f'RUN ["/web", "sleep", "{seconds}"]'), deadline_s=2)
    wait_until(lambda: processes("/web", "sleep", seconds) == 0)


class SlowTree(MemoryTree):
    """A tree with so many links that reading all of them takes minutes."""

    def __init__(self, files: AppFiles) -> None:
        super().__init__(files, links={f"link{n}": "web" for n in range(10_000)})

    def read(self, entry: TreeEntry) -> Iterator[bytes]:
        """Give the content of a file at once, and that of a link slowly."""
        if entry.path.startswith("link"):
            time.sleep(0.02)
        return super().read(entry)


def test_build_can_be_cancelled_while_its_files_are_listed(engine: DockerEngine) -> None:
    stop = StopSignal()
    timer = threading.Timer(2, stop.set, args=(CancelledError("ada said so"),))
    timer.start()
    started = time.monotonic()

    with pytest.raises(CancelledError, match="ada said so"):
        build(engine, SlowTree(dockerfile("COPY . /all/")), stop=stop)
    assert time.monotonic() - started < 100
    timer.join()


def test_deadline_applies_while_the_files_are_listed(engine: DockerEngine) -> None:
    started = time.monotonic()

    with pytest.raises(BuildError, match=r"^the build took longer than 2 s$"):
        build(engine, SlowTree(dockerfile("COPY . /all/")), deadline_s=2)
    assert time.monotonic() - started < 100


def test_more_patterns_than_the_files_allow_are_refused(engine: DockerEngine) -> None:
    files: AppFiles = {f"d{n}/f": "x" for n in range(5000)}
    files |= dockerfile("COPY . /all/") | {".dockerignore": "\n".join(f"q{n}" for n in range(6000))}

    with pytest.raises(BuildError, match=r"^the 6000 patterns of \.dockerignore"):
        build(engine, files)


def test_build_argument_in_a_steps_name_is_not_shortened(engine: DockerEngine) -> None:
    lines: list[str] = []
    secret = "hunter2-" * 4
    text = f"FROM scratch\nARG A\nCOPY {'x' * 90}$A /x\n"
    spec = replace(SPEC, args={"A": SecretStr(secret)})

    with pytest.raises(BuildError) as failure:
        engine.build(
            spec, MemoryTree({"Dockerfile": text}), log=shown_to(lines.append), stop=StopSignal()
        )

    # The adapter does not mask values yet, and half a value could not be masked later.
    assert f'COPY {"x" * 90}{secret} /x"' in str(failure.value)
    assert "hunter2" not in Redactor([SecretStr(secret)])(str(failure.value))
    assert any(secret in line for line in lines)


def test_stopped_signal_begins_no_build(engine: DockerEngine) -> None:
    stop = StopSignal()
    stop.set(CancelledError("too late"))
    lines: list[str] = []

    with pytest.raises(CancelledError):
        build(engine, app_files("one"), log=lines.append, stop=stop)
    assert lines == []


def test_secret_reaches_the_step_that_mounts_it_and_no_layer(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    mount = "RUN --mount=type=secret,id=token,required"
    files = dockerfile(f'{mount} ["/web", "cat", "/run/secrets/token"]')
    spec = replace(SPEC, secrets={"token": SecretStr("s3cr3t-value")})
    lines: list[str] = []
    engine.build(spec, MemoryTree(files), log=shown_to(lines.append), stop=StopSignal())

    assert any(line.endswith("| s3cr3t-value") for line in lines)
    assert "s3cr3t-value" not in str(client.images.get(TAG).history())


def test_secret_that_nobody_gave_fails_the_step_that_needs_it(engine: DockerEngine) -> None:
    mount = "RUN --mount=type=secret,id=token,required"

    with pytest.raises(BuildError, match=r"secret token:? not found"):
        build(engine, dockerfile(f'{mount} ["/web", "cat", "/run/secrets/token"]'))


def test_build_arguments_and_target_are_passed_on(
    engine: DockerEngine, client: docker.DockerClient
) -> None:
    text = "FROM scratch AS first\nARG A=no\nLABEL said=$A\nFROM first\nLABEL said=never\n"
    spec = replace(SPEC, target="first", args={"A": SecretStr("yes please")})
    tree = MemoryTree({"Dockerfile": text})
    engine.build(spec, tree, log=ignore, stop=StopSignal())

    assert client.images.get(TAG).labels["said"] == "yes please"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_build_arguments_and_secrets_have_any_name_that_a_variable_can_have(
    engine: DockerEngine, name: str
) -> None:
    run = f'RUN --mount=type=secret,id={name} ["/web", "cat", "/run/secrets/{name}"]'
    # The engine's cache does not ask for secrets: a step that ran before would show nothing.
    text = f"FROM scratch\nCOPY web /web\nCOPY once /once\nARG {name}\n{run}"
    secret = SecretStr("hunter2hunter2")
    spec = replace(SPEC, args={name: SecretStr("x")}, secrets={name: secret})
    lines: list[str] = []
    files = {**app_files("one"), "once": secrets.token_hex(8), "Dockerfile": text}
    engine.build(spec, MemoryTree(files), log=shown_to(lines.append), stop=StopSignal())
    assert any(secret.get_secret_value() in line for line in lines)


def test_builds_of_two_apps_at_once_do_not_disturb_each_other(engine: DockerEngine) -> None:
    results: dict[str, str] = {}

    def run(name: str) -> None:
        ours = DockerEngine.from_environment(IDENTITY)
        results[name] = build(ours, app_files(name), tag=tag_of(name))
        ours.close()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert results["left"] != results["right"]
    assert engine.image_id(tag_of("left")) == results["left"]


def test_commit_reaches_a_dockerfile_that_declares_it_and_no_other(engine: DockerEngine) -> None:
    def step_line(dockerfile_text: str, commit: str) -> list[str]:
        spec = replace(SPEC, offered={"KEYSTONE_COMMIT": commit}, cache_key=IDENTITY)
        tree = MemoryTree(app_files("one", dockerfile=dockerfile_text))
        lines: list[str] = []
        engine.build(spec, tree, log=shown_to(lines.append), stop=StopSignal())
        return lines

    said = secrets.token_hex(8)
    plain = f'FROM scratch\nCOPY web /web\nRUN ["/web", "say", "{said}"]\n'
    telling = plain.replace("COPY", "ARG KEYSTONE_COMMIT\nLABEL commit=$KEYSTONE_COMMIT\nCOPY")
    step_line(plain, "one")

    # An argument that the Dockerfile does not declare must not cost it its cache.
    assert not any(line.endswith(f"| {said}") for line in step_line(plain, "two"))
    step_line(telling, "three")
    client = docker.from_env(timeout=60)
    assert client.images.get(TAG).labels["commit"] == "three"
    client.close()


@pytest.mark.parametrize("has_own", [False, True])
def test_frontend_of_the_setting_is_asked_for_unless_the_dockerfile_has_one(
    engine: DockerEngine, *, has_own: bool
) -> None:
    syntax = "# syntax=127.0.0.1:1/own:1\n" if has_own else ""
    spec = replace(SPEC, frontend="127.0.0.1:1/set:1")
    tree = MemoryTree(app_files("one", dockerfile=f"{syntax}FROM scratch\nCOPY web /web\n"))
    wanted = "127.0.0.1:1/own:1" if has_own else "127.0.0.1:1/set:1"

    with pytest.raises(DockerError, match=f"^the Dockerfile frontend {wanted} could not be pulled"):
        engine.build(spec, tree, log=ignore, stop=StopSignal())


def test_image_that_its_registry_does_not_have_or_let_out_is_explained(
    engine: DockerEngine,
) -> None:
    with running_registry() as registry:
        text = f"FROM {registry.image}\n"
        with pytest.raises(BuildError, match="could not be pulled: it does not exist, or its reg"):
            build(engine, app_files("one", dockerfile=text))


def test_output_that_the_engine_clips_is_marked_and_the_step_still_ends(
    engine: DockerEngine,
) -> None:
    files = dockerfile("COPY big /", 'RUN ["/web", "cat", "/big"]')
    files["big"] = b"before\n" + b"x" * 10_000_000 + b"\nafter\n"
    lines: list[str] = []
    build(engine, files, log=lines.append)

    told = [line.partition(" | ")[2] for line in lines if " | " in line]
    assert told[0] == "before"
    # BuildKit itself leaves out what is past its limit for a step; a newer one may keep the end.
    assert "after" in told or any(line.startswith("[output clipped") for line in told)
