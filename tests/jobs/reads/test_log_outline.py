"""The outline of a log: its lines, its steps, its build."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit.progress import Progress
from jobs.adapters.buildkit.trace import Output, Vertex
from jobs.reads.log_outline import Outline, Outlines
from jobs.rules.log_events import BuildEvent
from jobs.rules.redaction import Redactor
from jobs.rules.text import STYLE
from jobs.states import BuildStepState
from jobs.storage.deployment_log import DeploymentLog
from tests.build_events import named

STAMP = "2026-11-23T15:45:58.123Z"


def write(path: Path, *lines: tuple[str, str | BuildEvent]) -> None:
    log = DeploymentLog(path, Redactor())
    for step, text in lines:
        log.write(step, text)
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a log is to be."""
    return tmp_path / "1.log"


def outline_of(path: Path) -> Outline:
    outline = Outline(path)
    assert outline.update()
    return outline


def test_steps_have_their_lines(path: Path) -> None:
    write(path, ("checkout", "a\nb"), ("build", "c"), ("failure", "d\ne"))
    sections = [(s.step, s.first, s.last) for s in outline_of(path).view().sections]
    assert sections == [("checkout", 1, 2), ("build", 3, 3), ("failure", 4, 5)]


def test_the_outline_grows_with_the_log_and_omits_an_unfinished_line(path: Path) -> None:
    write(path, ("build", "one"))
    outline = outline_of(path)
    with path.open("a") as file:
        file.write(f"{STAMP} build | tw")
    outline.update()
    assert (outline.lines, len(outline.read(1, 9))) == (1, 1)
    with path.open("a") as file:
        file.write("o\n")
    outline.update()
    assert outline.read(2, 9) == [f"{STAMP} build | two".encode()]
    assert outline.size == path.stat().st_size


def test_another_log_in_the_same_place_is_read_anew(path: Path) -> None:
    write(path, ("build", "a\nb\nc"))
    outline = outline_of(path)
    path.unlink()
    write(path, ("start", "x"))
    outline.update()
    assert [(s.step, s.last) for s in outline.view().sections] == [("start", 1)]


def test_any_line_of_a_long_log_is_found(path: Path) -> None:
    write(path, ("build", "\n".join(f"line {n}" for n in range(1, 2001))))
    outline = outline_of(path)
    data = path.read_bytes()
    for first, most in ((1, 3), (255, 4), (256, 1), (257, 600), (1999, 50), (2001, 5)):
        texts = [raw.partition(b" | ")[2].decode() for raw in outline.read(first, most)]
        assert texts == [f"line {n}" for n in range(first, min(first + most, 2001))]
    for number in (1, 256, 257, 1024, 2000):
        offset = sum(len(raw) + 1 for raw in data.split(b"\n")[: number - 1])
        assert outline.line_at(offset) == number


def test_build_steps_are_read_from_what_the_builder_writes(path: Path) -> None:
    log = DeploymentLog(path, Redactor())
    progress = Progress(lambda event: log.write("build", event))
    progress.feed(Vertex("a", "[1/3] FROM x", cached=True, started_s=1.0, completed_s=1.0))
    progress.feed(Vertex("b", "[2/3] RUN make", started_s=1.0))
    # What a command says cannot pass for the builder's own words.
    progress.feed(Output("b", b"DONE 9.9s\n\n| CACHED\n#1 ERROR: no\n"))
    progress.feed(Vertex("b", "[2/3] RUN make", started_s=1.0, completed_s=3.25))
    progress.feed(Vertex("c", "[3/3] RUN no", started_s=3.0, completed_s=4.0, error="exit 1"))
    progress.feed(Vertex("d", "exporting", started_s=4.0))
    log.close()
    build = [(b.number, b.name, b.state, b.seconds) for b in outline_of(path).view().build]
    assert build == [
        (1, "[1/3] FROM x", BuildStepState.CACHED, 0.0),
        (2, "[2/3] RUN make", BuildStepState.DONE, 2.2),
        (3, "[3/3] RUN no", BuildStepState.FAILURE, None),
        (4, "exporting", BuildStepState.RUNNING, None),
    ]


def test_a_build_that_was_begun_again_is_told_alone(path: Path) -> None:
    write(
        path,
        ("build", named(1, "[1/2] RUN a")),
        ("checkout", "again"),
        ("build", named(1, "[1/2] RUN b")),
    )
    assert [(b.name, b.line) for b in outline_of(path).view().build] == [("[1/2] RUN b", 3)]


def test_text_is_found_behind_the_stamp_whatever_its_case_and_colour(path: Path) -> None:
    write(path, ("build", "a \x1b[31mRed\x1b[0mdish one\nno\nbuild 2026"), ("start", "reddish"))
    with path.open("a") as file:
        file.write("reddish, and not stamped\n")
    outline = outline_of(path)
    assert outline.find("REDDISH", most=10) == (3, [1, 4, 5])
    assert outline.find("build", most=10) == (1, [3])
    assert outline.find("2026", most=10) == (1, [3])
    assert outline.find("reddish", most=2) == (3, [1, 4])
    assert outline.find("nothing like it", most=2) == (0, [])


@given(st.lists(st.text(max_size=40), max_size=30), st.text(min_size=1, max_size=3))
def test_a_search_finds_exactly_the_lines_that_hold_the_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], wanted: str
) -> None:
    path = tmp_path_factory.mktemp("log") / "1.log"
    write(path, *(("build", text) for text in ["first", *texts]))
    outline = outline_of(path)
    lines = [raw.decode().partition(" | ")[2] for raw in outline.read(1, 10_000)]
    plain = (STYLE.sub("", line).lower() for line in lines)
    expected = [n for n, line in enumerate(plain, 1) if wanted.lower() in line]
    if "\n" not in wanted and "\x1b" not in wanted:
        assert outline.find(wanted, most=10_000) == (len(expected), expected)


def test_outlines_are_kept_and_bounded(tmp_path: Path) -> None:
    outlines = Outlines(most=2)
    paths = [tmp_path / f"{n}.log" for n in range(3)]
    for path in paths:
        write(path, ("build", "a"))
    first = outlines.of(paths[0])
    assert outlines.of(paths[0]) is first
    outlines.of(paths[1])
    outlines.of(paths[2])
    assert outlines.of(paths[0]) is not first
    assert outlines.of(tmp_path / "none.log").lines == 0
