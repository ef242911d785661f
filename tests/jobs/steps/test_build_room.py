"""A build that failed because the disk was full is no fault of the app's."""

import pytest

from jobs.adapters.buildkit.failures import MAKE_ROOM
from jobs.errors import BuildError, DockerError
from jobs.states import DeploymentState, GitHubState
from jobs.steps.build import AS_GOOD_AS_FULL, LAST_LINES, MIB, ensure_room
from jobs.storage.models import App
from tests.build_events import named, output
from tests.jobs.bench import Bench

FAILURE = BuildError('the build failed at "RUN make": exit code 1')
GIB = 1024 * MIB


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.mark.parametrize(
    "line",
    [
        "#5 | cp: error writing '/big': No space left on device",
        "#5 | npm ERR! ENOSPC: no space left on device, write",
        "#5 | OSError: [Errno 28] No space left on device",
        "#5 | error: No space left on device (os error 28)",
    ],
)
def test_a_command_that_found_the_disk_full_is_believed(line: str) -> None:
    with pytest.raises(DockerError, match=r'"RUN make": exit code 1, as .* disk is full; free'):
        ensure_room(FAILURE, ["#5 RUN make", line, "#5 | make: *** [all] Error 1"], 5 * GIB, GIB)


@pytest.mark.parametrize(("free", "floor"), [(GIB - 1, GIB), (AS_GOOD_AS_FULL - 1, 0)])
def test_a_disk_that_is_full_after_the_build_is_told_of(free: int, floor: int) -> None:
    left = free // MIB
    with pytest.raises(DockerError, match=f"only {left} MB are left on Docker's disk; free some"):
        ensure_room(FAILURE, [], free, floor)


@pytest.mark.parametrize(("free", "floor"), [(GIB, GIB), (AS_GOOD_AS_FULL, 0), (None, GIB)])
def test_with_enough_space_a_failed_build_is_the_apps_fault(free: int | None, floor: int) -> None:
    ensure_room(FAILURE, ["#5 | 3 tests failed"], free, floor)


def test_the_deployment_ends_as_an_error_of_the_platform(bench: Bench, app: App) -> None:
    engine = bench.world.engine
    engine.build_output = (named(2, "RUN make"), output(2, "cc: No space left on device"))
    engine.build_error = FAILURE
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.ERROR
    assert done.reason.endswith(f"disk is full; {MAKE_ROOM}")
    assert bench.statuses(done.id or 0)[-1].state is GitHubState.ERROR


def test_what_was_said_long_before_the_failure_does_not_count(bench: Bench, app: App) -> None:
    engine = bench.world.engine
    engine.build_output = (
        output(2, "df: no space left on device"),
        *[output(3, "testing")] * LAST_LINES,
    )
    engine.build_error = FAILURE
    done = bench.run(bench.push(app))
    assert (done.state, done.reason) == (DeploymentState.FAILURE, str(FAILURE))


def test_the_disk_is_looked_at_again_once_the_build_has_failed(bench: Bench, app: App) -> None:
    engine = bench.world.engine

    def fill(_about: str) -> None:
        engine.free_bytes = 3 * MIB
        raise FAILURE

    engine.free_bytes = 5 * GIB
    engine.on("build", fill)
    done = bench.run(bench.push(app))
    assert done.state is DeploymentState.ERROR
    assert "only 3 MB are left on Docker's disk" in done.reason
