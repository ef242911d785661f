"""The sentence a failed build ends with, from what engines of different versions say."""

import pytest

from jobs.adapters.buildkit.failures import build_failure
from jobs.adapters.buildkit.trace import Vertex
from jobs.errors import BuildError, DockerError


def step(name: str, error: str) -> Vertex:
    return Vertex("a", name, started_s=1, completed_s=2, error=error)


@pytest.mark.parametrize(
    "error",
    [
        "executor failed running [/bin/sh -c make]: exit code: 2",
        'process "/bin/sh -c make" did not complete successfully: exit code: 2',
    ],
)
def test_failed_command_is_named_with_its_exit_code(error: str) -> None:
    failure = build_failure("failed to solve", step("[build 2/3] RUN make", error))

    assert isinstance(failure, BuildError)
    assert str(failure) == 'the build failed at "RUN make": exit code 2'


def test_missing_base_image_is_named() -> None:
    failed = step("[internal] load metadata for registry.test/no:1", "pull access denied")

    assert str(build_failure("failed to solve", failed)) == (
        "the base image registry.test/no:1 could not be had: pull access denied"
    )


def test_mistake_in_the_dockerfile_is_unwrapped() -> None:
    message = (
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
        "dockerfile parse error line 2: unknown instruction: FETCH"
    )

    assert str(build_failure(message, None)) == (
        "the build failed: dockerfile parse error line 2: unknown instruction: FETCH"
    )


@pytest.mark.parametrize("failed", [None, step("[1/1] COPY a /a", "short write")])
def test_full_disk_is_the_platforms_fault(failed: Vertex | None) -> None:
    failure = build_failure("write /var/lib/docker/x: no space left on device", failed)

    assert isinstance(failure, DockerError)
    assert "disk is full" in str(failure)


def test_sentence_is_one_line_of_bounded_length() -> None:
    failure = str(build_failure("x", step("[1/1] RUN " + "a\n" * 900, "b\n" * 900)))

    assert "\n" not in failure
    assert len(failure) < 700


def test_silent_engine_still_gives_a_sentence() -> None:
    assert str(build_failure("", None)) == "the build failed: the engine gave no reason"
