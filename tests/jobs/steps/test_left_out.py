"""What a build did not get is in the log, and in the reason when the build or the app fails."""

import time

import pytest

from jobs.errors import BuildError
from jobs.rules.left_out import POINTER
from jobs.states import DeploymentState
from jobs.steps.left_out import MOST_READ, left_out
from jobs.storage.models import App
from tests.fakes.engine import Behaviour
from tests.images import AppFiles
from tests.jobs.bench import FILES, Bench, push_of
from tests.trees import MemoryTree

POINTER_FILE = POINTER.decode() + "oid sha256:" + "a" * 64 + "\nsize 12345\n"
WITH_LFS: AppFiles = {
    **FILES,
    ".gitattributes": "*.bin filter=lfs -text\n",
    "m/model.bin": POINTER_FILE,
}
TOLD = "m/model.bin is a Git LFS pointer instead of the content"


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


def deploy(bench: Bench, files: AppFiles) -> tuple[DeploymentState, str, str]:
    """Deploy files; give the state, the reason and the log."""
    sha = bench.repository().commit(files)
    done = bench.run(bench.deliver(push_of(bench, sha)).deployments[0][0].id or 0)
    return done.state, done.reason, bench.log(done.id or 0)


def test_log_has_a_warning(bench: Bench, app: App) -> None:
    state, _, log = deploy(bench, WITH_LFS)

    assert state is DeploymentState.SUCCESS
    assert f"build | warning: {TOLD}" in log


def test_reason_of_a_failed_build_names_it(bench: Bench, app: App) -> None:
    bench.world.engine.build_error = BuildError("the build failed: no model")

    assert deploy(bench, WITH_LFS)[1].startswith(f"the build failed: no model; {TOLD}")


def test_reason_of_an_unhealthy_app_names_it(bench: Bench, app: App) -> None:
    bench.world.engine.behaviour = Behaviour(exits=1)
    state, reason, _ = deploy(bench, WITH_LFS)

    assert state is DeploymentState.FAILURE
    assert f"; {TOLD}" in reason


def test_without_such_files_nothing_is_said(bench: Bench, app: App) -> None:
    bench.world.engine.build_error = BuildError("the build failed: no model")
    _, reason, log = deploy(bench, FILES)

    assert reason == "the build failed: no model"
    assert "warning" not in log


def test_submodules_are_named() -> None:
    (note,) = left_out(MemoryTree({"a": "x"}, submodules=("themes/ananke",)))

    assert note.startswith("the submodule themes/ananke was not checked out")


def test_context_without_the_attributes_is_looked_at_too() -> None:
    assert TOLD in left_out(MemoryTree({"m/model.bin": POINTER_FILE}))[0]


def test_only_some_files_are_read() -> None:
    tree = MemoryTree({f"{n:05}.bin": "x" * 130 for n in range(5000)})

    assert left_out(tree) == []
    assert len(tree.reads) == MOST_READ


def test_only_some_files_are_compared_with_the_patterns() -> None:
    patterns = "".join(f"{'*a' * 90}{n} filter=lfs\n" for n in range(200))
    files = {f"{n:06}" + "a" * 180: "x" * 130 for n in range(20_000)}
    started = time.process_time()
    assert left_out(MemoryTree({".gitattributes": patterns, **files})) == []
    assert time.process_time() - started < 60
