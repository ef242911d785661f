"""A window of a log, as numbered lines."""

from pathlib import Path

from pydantic import SecretStr

from dashboard.log_lines import (
    Transcript,
    draw,
    excerpt,
    read_lines,
    read_transcript,
    step_word,
)
from jobs.reads.log_outline import Outline
from jobs.rules.log_events import parse
from jobs.rules.redaction import Redactor
from jobs.storage.deployment_log import DeploymentLog
from tests.build_events import cached, done, failed, named, output


def written(path: Path, *steps: tuple[str, str]) -> Outline:
    log = DeploymentLog(path, Redactor([SecretStr("hunter22")]))
    for step, text in steps:
        log.write(step, text)
    log.close()
    outline = Outline(path)
    outline.update()
    return outline


def blocks(read: Transcript) -> list[tuple[str, int, int, int]]:
    """Give each block: its step, its lines, and how many of them are drawn."""
    return [
        (chapter.word, block.first, block.last, block.html.count('<div id="L'))
        for chapter in read.chapters
        for block in chapter.blocks
    ]


def test_lines_are_read_the_way_they_are_written(tmp_path: Path) -> None:
    log = written(tmp_path / "1.log", ("checkout", "commit abc"), ("build", "a | b\n<i>"))
    lines = read_lines(log, 1, 10)
    assert [(line.number, line.event.step, line.event.text) for line in lines] == [
        (1, "checkout", "commit abc"),
        (2, "build", "a | b"),
        (3, "build", "<i>"),
    ]
    assert "&lt;i&gt;" in draw(lines)


def test_each_step_is_a_chapter(tmp_path: Path) -> None:
    log = written(tmp_path / "1.log", ("checkout", "a\nb"), ("health_check", "c"), ("failure", "d"))
    assert blocks(read_transcript(log, from_end=True)) == [
        ("Checkout", 1, 2, 2),
        ("Health check", 3, 3, 1),
        ("Failure", 4, 4, 1),
    ]


def test_of_a_long_log_the_wanted_end_is_drawn_and_the_rest_is_left_out(tmp_path: Path) -> None:
    log = written(tmp_path / "1.log", ("build", "line\n" * 1000), ("start", "line\n" * 10))
    assert blocks(read_transcript(log, from_end=True, most=100)) == [
        ("Build", 1, 910, 0),
        ("Build", 911, 1000, 90),
        ("Start", 1001, 1010, 10),
    ]
    assert blocks(read_transcript(log, from_end=False, most=100)) == [
        ("Build", 1, 100, 100),
        ("Build", 101, 1000, 0),
        ("Start", 1001, 1010, 0),
    ]


def test_a_page_that_is_being_read_is_told_where_a_step_begins(tmp_path: Path) -> None:
    log = written(tmp_path / "1.log", ("checkout", "a"), ("build", "b\nc"))
    html = draw(read_lines(log, 1, 10), log.view().sections)
    opened = [line.split(">")[0] for line in html.split("\n")]
    assert opened == [
        '<div id="L1" data-step="Checkout"',
        '<div id="L2" data-step="Build"',
        '<div id="L3"',
    ]


def test_what_failed_said_last_stands_above(tmp_path: Path) -> None:
    log = written(
        tmp_path / "1.log",
        ("start", "started"),
        ("health_check", "\n".join(f"line {n}" for n in range(20)) + "\n<last>"),
        ("failure", "the container exited before it was healthy"),
    )
    said = excerpt(log)
    assert len(said) == 12
    assert said[-1] == "&lt;last&gt;"
    assert excerpt(log, most=100)[0] == "line 0"  # of the step that failed alone


def test_a_log_that_is_missing_is_empty(tmp_path: Path) -> None:
    outline = Outline(tmp_path / "none.log")
    assert not outline.update()
    assert blocks(read_transcript(outline, from_end=True)) == []
    assert excerpt(outline) == []


def test_a_line_that_is_not_stamped_is_all_text() -> None:
    event = parse(b"2026-99-23T15:45:58.123Z build | text")
    assert (event.at, event.step) == (None, "")
    assert parse(b"no stamp | at all").text == "no stamp | at all"
    assert step_word("") == ""


def test_the_builders_lines_are_marked_and_a_steps_own_are_not(tmp_path: Path) -> None:
    log = DeploymentLog(tmp_path / "1.log", Redactor())
    texts = ("#4 [2/3] RUN make", "#4 CACHED", "#4 DONE 0.1s", "#4 ERROR: exit 1")
    told = (named(4, "[2/3] RUN make"), cached(4), done(4, 0.1), failed(4, "exit 1"))
    for said in (*told, output(4, "DONE 1s"), *texts):
        log.write("build", said)
    log.close()
    outline = Outline(tmp_path / "1.log")
    outline.update()
    html = [str(draw([line])) for line in read_lines(outline, 1, 10)]
    marks = ["named", "cached", "done", "error"]
    assert [f' class="{mark}"' in line for mark, line in zip(marks, html, strict=False)] == [
        True
    ] * 4
    assert [line.partition("<span>")[2].partition("</span>")[0] for line in html[:4]] == [*texts]
    # An output, and the texts of a log that an earlier version has written.
    assert not any("class=" in line for line in html[4:])
    assert "<span>#4 | DONE 1s</span>" in html[4]
