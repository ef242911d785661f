"""The end of a log, as numbered lines."""

from pathlib import Path

from pydantic import SecretStr

from dashboard.transcript import parse_line, read_transcript
from jobs.logs import DeploymentLog, read_log
from jobs.redaction import Redactor


def write(path: Path, *steps: tuple[str, str]) -> None:
    log = DeploymentLog(path, Redactor([SecretStr("hunter22")]))
    for step, text in steps:
        log.write(step, text)
    log.close()


def test_lines_are_read_the_way_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, ("checkout", "commit abc"), ("build", "a | b\n<i>"), ("build", ""))
    read = read_transcript(path)
    shown = [(line.number, line.step, line.html, line.opens) for line in read.lines]
    assert shown == [
        (1, "checkout", "commit abc", True),
        (2, "build", "a | b", True),
        (3, "build", "&lt;i&gt;", False),
        (4, "build", "", False),
    ]
    assert all(line.at is not None for line in read.lines)


def test_only_the_end_of_a_long_log_is_kept_with_its_own_numbers(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, ("build", "\n".join(f"line {n}" for n in range(1, 3001))))
    read = read_transcript(path, most_lines=2000)
    assert (len(read.lines), read.total) == (2000, 3000)
    assert (read.lines[0].number, read.lines[0].html) == (1001, "line 1001")
    assert read.lines[0].opens


def test_long_lines_are_bounded_by_bytes(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, ("build", "\n".join(["x" * 1000] * 100)))
    read = read_transcript(path, most_bytes=10_000)
    assert 5 < len(read.lines) < 10
    assert read.lines[-1].number == 100


def test_what_comes_later_begins_where_the_page_ends(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    write(path, ("build", "Ångström"))
    path.write_bytes(path.read_bytes() + b"half a li")
    read = read_transcript(path)
    assert len(read.lines) == 1
    path.write_bytes(path.read_bytes() + b"ne\n")
    rest = read_log(path, offset=read.next_offset)
    assert rest is not None
    assert rest.text == "half a line\n"


def test_a_missing_log_is_said_to_be_missing(tmp_path: Path) -> None:
    read = read_transcript(tmp_path / "none.log")
    assert not read.exists
    assert read.lines == []


def test_a_line_that_is_not_stamped_is_all_text() -> None:
    line = parse_line(1, "2026-99-23T15:45:58.123Z build | text", "build")
    assert line.at is None
    assert parse_line(1, "no stamp | at all", None).html == "no stamp | at all"
