"""Why COPY did not find a file."""

import time

import pytest

from jobs.adapters.buildkit.context import Context
from jobs.adapters.buildkit.missing import missing_path, why_missing
from tests.trees import MemoryTree

CONTEXT = Context(
    MemoryTree(
        {"src/App.js": "", "secret.txt": "", "web.Dockerfile.dockerignore": "", "README.md": ""},
        submodules=("themes/ananke",),
    )
)


def why(path: str, *, dockerfile: str = "Dockerfile", folder: str = ".") -> str:
    return why_missing(CONTEXT, path, dockerfile=dockerfile, commit="4c9e7561", folder=folder)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("a.json", "a.json is not in the repository at 4c9e756 (is it ignored by .gitignore, or "),
        ("src/app.js", "src/app.js is not in the repository at 4c9e756 (but src/App.js is)"),
        ("SRC", "SRC is not in the repository at 4c9e756 (but src is)"),
        ("secret.txt", "secret.txt is in the repository, but .dockerignore leaves it out"),
        ("/src/App.js", "/src/App.js is in the repository, but .dockerignore leaves it out"),
        ("themes/ananke/a.css", "themes/ananke/a.css is in a submodule"),
        ("x\n\x1b[2Ky" + "z" * 999, "x"),
    ],
)
def test_reason_of_a_missing_file(path: str, told: str) -> None:
    assert why(path).startswith(told)
    assert len(why(path)) < 500


def test_ignore_file_beside_the_dockerfile_is_named() -> None:
    assert "but web.Dockerfile.dockerignore leaves" in why(
        "secret.txt", dockerfile="web.Dockerfile"
    )


def test_folder_that_is_built_is_named() -> None:
    assert why("a", folder="web").startswith("a is not in the folder web of the repository at 4c9e")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("COPY --from=build /a /b", '"/a" not found: not found'),
        ("RUN make", '"/a" not found: not found'),
        ("COPY a /b", "short write"),
    ],
)
def test_other_failures_miss_no_file(step: str, error: str) -> None:
    assert missing_path(step, error) is None


@pytest.mark.parametrize("start", ["COPY failed: ", "ADD failed: ", ""])
@pytest.mark.parametrize("piece", ["stat ", "lstat /", "/a", '"'])
def test_an_error_that_quotes_a_hostile_dockerfile_costs_little(start: str, piece: str) -> None:
    started = time.process_time()
    assert missing_path("COPY a b", start + piece * (200_000 // len(piece))) is None
    assert time.process_time() - started < 10
