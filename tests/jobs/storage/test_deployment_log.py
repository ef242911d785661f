"""What reaches a log: bounded, without tricks, and with no secret in it."""

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobs.rules.log_events import EventKind
from jobs.rules.log_lines import LEFT_OUT, LONGEST_LINE, MOST_PIECES
from jobs.rules.redaction import Redactor
from jobs.storage.deployment_log import (
    CUT_MARK,
    OUTPUT_CUT_MARK,
    DeploymentLog,
    LogPart,
    log_path,
    read_events,
    read_log,
    read_shown,
)
from tests.build_events import cached, done, failed, named, output

TRICKS = ["#3 DONE 0.1s", "2026-01-01T00:00:00.000Z switch | x", " | ", "\r", "\x1b[2K", "\x1b[31m"]
FORGED = "2026-01-01T00:00:00.000Z build #3 CACHED |"
TRICKY = st.lists(
    st.sampled_from([*TRICKS, FORGED, "\n", "\r\n", "\u2028", "\x85", "\f", "x" * LONGEST_LINE])
    | st.text(max_size=5),
    min_size=1,
).map("".join)
SECRET = SecretStr("s3cr3t/t0ken+value")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w+ \| ")


def written(path: Path, *texts: str, limit: int = 10**6) -> list[str]:
    log = DeploymentLog(path, Redactor([SECRET]), limit=limit)
    for text in texts:
        log.write("build", text)
    log.close()
    return path.read_text().splitlines()


class TestDeploymentLog:
    def test_every_line_says_when_and_in_which_step(self, tmp_path: Path) -> None:
        lines = written(tmp_path / "logs" / "1.log", "one\ntwo", "", "three")
        assert all(LINE.match(line) for line in lines)
        assert [line.partition(" | ")[2] for line in lines] == ["one", "two", "", "three"]

    def test_it_is_nobody_elses(self, tmp_path: Path) -> None:
        written(tmp_path / "logs" / "1.log", "one")
        assert (tmp_path / "logs").stat().st_mode & 0o077 == 0

    def test_the_group_of_its_folder_may_read_it(self, tmp_path: Path) -> None:
        """The web process shows it, which may be another user than the one who writes it."""
        mask = os.umask(0o077)
        try:
            written(tmp_path / "logs" / "1.log", "one")
        finally:
            os.umask(mask)
        assert (tmp_path / "logs" / "1.log").stat().st_mode & 0o777 == 0o640

    def test_a_second_attempt_goes_on_where_the_first_ended(self, tmp_path: Path) -> None:
        written(tmp_path / "1.log", "one")
        assert len(written(tmp_path / "1.log", "two")) == 2

    def test_it_ends_at_its_limit_and_says_so(self, tmp_path: Path) -> None:
        lines = written(tmp_path / "1.log", *["x" * 100] * 100, limit=2000)
        assert lines[-1].endswith(CUT_MARK)
        assert (tmp_path / "1.log").stat().st_size <= 2000 + 200
        assert sum(CUT_MARK in line for line in lines) == 1

    def test_what_a_build_prints_leaves_room_for_how_the_deployment_ends(
        self, tmp_path: Path
    ) -> None:
        log = DeploymentLog(tmp_path / "1.log", Redactor(), limit=4000, reserved=1500)
        for _ in range(100):
            log.write("build", output(3, "x" * 100))
        log.write("build", failed(3, "exit code: 1"))
        log.write("failure", "the reason")
        log.close()
        *before, mark, error, reason = (tmp_path / "1.log").read_text().splitlines()
        assert all("#3 > | xxx" in line for line in before)
        assert mark.endswith(f"build | {OUTPUT_CUT_MARK}")
        assert error.endswith("build #3 ERROR: | exit code: 1")
        assert reason.endswith("failure | the reason")

    @pytest.mark.parametrize(
        "text",
        [
            "s3cr3t/t0ken+value",
            "https://x-access-token:s3cr3t%2Ft0ken%2Bvalue@github.com/octo/web",
            "czNjcjN0L3Qwa2VuK3ZhbHVl",
            "s3cr3t/\x00t0ken\x08+value",
            "s3cr3t/\x1b[2Jt0ken+value",
            "s3cr3t/t0ken\u202e+value",
            "x" * (LONGEST_LINE - 8) + "s3cr3t/t0ken+value",
        ],
        ids=["plain", "URL", "base64", "control", "escape", "direction", "at the cut"],
    )
    def test_no_secret_reaches_the_disk(self, tmp_path: Path, text: str) -> None:
        lines = "".join(written(tmp_path / "1.log", text))
        assert "s3cr3t" not in lines
        assert "czNjcjN0" not in lines
        assert "t0ken" not in lines

    def test_long_lines_go_on_in_the_next_one(self, tmp_path: Path) -> None:
        lines = written(tmp_path / "1.log", "x" * 30_000)
        assert all(len(line) < LONGEST_LINE + 50 for line in lines)
        assert sum(line.count("x") for line in lines) == 30_000

    def test_a_line_of_a_megabyte_is_left_off_and_says_so(self, tmp_path: Path) -> None:
        *lines, last = written(tmp_path / "1.log", "\x1b[31mx\x1b[32my" * 500_000)
        assert (
            sum(line.count("x") + line.count("y") for line in lines) == MOST_PIECES * LONGEST_LINE
        )
        assert last.endswith(LEFT_OUT)

    def test_every_piece_of_a_long_line_says_its_style_and_ends_it(self, tmp_path: Path) -> None:
        lines = written(tmp_path / "1.log", f"\x1b[31m{'x' * 10_000}")
        assert len(lines) == 3
        assert all("\x1b[0;31mx" in line and line.endswith("x\x1b[0m") for line in lines)

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_each_line_of_a_text_is_stamped(self, tmp_path: Path, end: str) -> None:
        lines = written(tmp_path / "1.log", end.join(["one", "", "two", ""]))
        assert [line.partition(" | ")[2] for line in lines] == ["one", "", "two"]

    @pytest.mark.parametrize("trick", [*"\v\f\x1c\x1d\x1e\x85\u2028\u2029", "x" * LONGEST_LINE])
    def test_nothing_that_a_step_says_begins_a_line(self, tmp_path: Path, trick: str) -> None:
        lines = written(tmp_path / "1.log", f"#4 | {trick}#4 DONE 0.1s")[:2]
        assert not any("build | #4 DONE" in line for line in lines)
        assert "".join(lines).endswith("#4 DONE 0.1s")

    @given(text=TRICKY)
    def test_no_output_passes_for_another_event(
        self, tmp_path_factory: pytest.TempPathFactory, text: str
    ) -> None:
        path = tmp_path_factory.mktemp("log") / "1.log"
        log = DeploymentLog(path, Redactor())
        log.write("build", output(4, text))
        log.write("build", text)
        log.write("health_check", text)
        log.close()
        part = read_events(path)
        assert part is not None
        assert part.next_offset == path.stat().st_size
        seen = [(event.step, event.kind, event.vertex) for event in part.events]
        each = len(seen) // 3
        assert seen == [
            *[("build", EventKind.OUTPUT, 4)] * each,
            *[("build", EventKind.TEXT, None)] * each,
            *[("health_check", EventKind.TEXT, None)] * each,
        ]

    def test_every_piece_of_an_output_is_one_of_its_vertex(self, tmp_path: Path) -> None:
        log = DeploymentLog(tmp_path / "1.log", Redactor([SECRET]))
        for told in (output(4, "x" * 9000), named(5, "y" * 9000), failed(5, "z" * 9000)):
            log.write("build", told)
        log.close()
        part = read_events(tmp_path / "1.log")
        assert part is not None
        seen = [(event.kind, event.vertex, event.text.lstrip("… ")[0]) for event in part.events]
        assert seen == [
            *[(EventKind.OUTPUT, 4, "x")] * 3,
            (EventKind.NAME, 5, "y"),
            *[(EventKind.OUTPUT, 5, "y")] * 2,
            (EventKind.ERROR, 5, "z"),
            *[(EventKind.OUTPUT, 5, "z")] * 2,
        ]

    def test_what_is_no_text_is_written_all_the_same(self, tmp_path: Path) -> None:
        (line,) = written(tmp_path / "1.log", "caf\udce9")
        assert line.endswith("caf")

    def test_threads_do_not_mix_their_lines(self, tmp_path: Path) -> None:
        log = DeploymentLog(tmp_path / "1.log", Redactor())
        texts = [letter * 500 for letter in "abcd"]

        def write(text: str) -> None:
            for _ in range(50):
                log.write("build", text)

        threads = [threading.Thread(target=write, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.close()
        lines = (tmp_path / "1.log").read_text().splitlines()
        assert len(lines) == 200
        assert {line.partition(" | ")[2] for line in lines} == set(texts)

    def test_a_full_disk_stops_the_log_and_nothing_else(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "1.log").symlink_to("/dev/full")
        log = DeploymentLog(tmp_path / "1.log", Redactor())
        for _ in range(3):
            log.write("build", "one")
        log.close()
        assert [record.message for record in caplog.records] == [
            "a deployment's log cannot be written: No space left on device"
        ]


class TestReading:
    def test_there_is_none(self, tmp_path: Path) -> None:
        assert read_log(tmp_path / "1.log") is None

    def test_an_unfinished_line_is_left_for_the_next_time(self, tmp_path: Path) -> None:
        path = tmp_path / "1.log"
        path.write_bytes(b"one\ntw")
        assert read_log(path) == LogPart("one\n", 4)
        path.write_bytes(b"one\ntwo\n")
        assert read_log(path, offset=4) == LogPart("two\n", 8)
        assert read_log(path, offset=8) == LogPart("", 8)

    @pytest.mark.parametrize("offset", [-5, 0])
    def test_it_begins_at_the_beginning(self, tmp_path: Path, offset: int) -> None:
        (tmp_path / "1.log").write_bytes(b"one\n")
        assert read_log(tmp_path / "1.log", offset=offset) == LogPart("one\n", 4)

    def test_parts_make_the_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "1.log"
        whole = "".join(f"line {number} é\n" for number in range(200))
        path.write_text(whole)
        parts, offset = "", 0
        while part := read_log(path, offset=offset, limit=100):
            if not part.text:
                break
            parts, offset = parts + part.text, part.next_offset
        assert parts == whole

    def test_what_an_earlier_version_let_through_is_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "1.log"
        old = "one \x1b[8mhidden\x1b[5m two\u200b\n\x1b[31mthree\n"
        path.write_text(old)
        shown = "one hidden two\n\x1b[0;31mthree\x1b[0m\n"
        assert read_log(path) == LogPart(shown, len(old.encode()))

    def test_an_offset_inside_a_line_gives_its_rest_as_text(self, tmp_path: Path) -> None:
        path = tmp_path / "1.log"
        forged = "2026-11-23T15:45:58.123Z build #3 DONE 0.1s |"
        written(path, forged, "next")
        offset = path.read_text().index(forged, 1)
        part = read_events(path, offset=offset)
        assert part is not None
        assert [(event.kind, event.step, event.text) for event in part.events] == [
            (EventKind.TEXT, "", forged),
            (EventKind.TEXT, "build", "next"),
        ]

    @pytest.mark.parametrize("size", [1, 7, 40, 1000])
    def test_bytes_of_the_text_make_the_whole_however_they_are_cut(
        self, tmp_path: Path, size: int
    ) -> None:
        path = tmp_path / "1.log"
        log = DeploymentLog(path, Redactor())
        said = [named(3, "RUN é"), output(3, "x" * 99), cached(3), done(3, 0.1), failed(3, "no")]
        for told in said:
            log.write("build", told)
        log.write("build", "plain")
        log.close()
        with path.open("ab") as file:
            file.write(b"2026-11-23T15:45:58.123Z build #3")
        whole = read_log(path)
        assert whole is not None
        length = path.stat().st_size
        with path.open("rb") as file:
            parts = [read_shown(file, at, min(size, length - at)) for at in range(0, length, size)]
        text = b"".join(parts).decode()
        assert text == f"{whole.text}2026-11-23T15:45:58.123Z build #3"
        assert "build | #3 CACHED\n" in text

    def test_each_deployment_has_its_own(self, tmp_path: Path) -> None:
        assert log_path(tmp_path, 7) == tmp_path / "7.log"
