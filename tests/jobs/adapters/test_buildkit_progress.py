"""The progress of a build, from the engine's bytes to readable lines."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit import wire
from jobs.adapters.buildkit.progress import MOST_HELD_BYTES, Lines, Progress
from jobs.adapters.buildkit.trace import Output, Vertex, decode_trace
from jobs.rules.reasons import LONGEST_QUOTED
from tests.build_events import shown_to


def timestamp(seconds: int, nanoseconds: int = 0) -> bytes:
    return wire.number(1, seconds) + wire.number(2, nanoseconds)


def told(*events: Vertex | Output) -> list[str]:
    lines: list[str] = []
    progress = Progress(shown_to(lines.append))
    for event in events:
        progress.feed(event)
    progress.end()
    return lines


def test_message_is_decoded() -> None:
    vertex = wire.text(1, "sha256:a") + wire.text(3, "[1/2] COPY a /a") + wire.number(4, 1)
    times = wire.data(5, timestamp(10)) + wire.data(6, timestamp(12, 500_000_000))
    log = wire.text(1, "sha256:a") + wire.number(3, 2) + wire.data(4, b"text")

    assert list(decode_trace(wire.data(1, vertex + times) + wire.data(3, log))) == [
        Vertex("sha256:a", "[1/2] COPY a /a", cached=True, started_s=10, completed_s=12.5),
        Output("sha256:a", b"text", is_error=True),
    ]


def test_steps_are_named_numbered_and_ended_once() -> None:
    begun = Vertex("a", "[1/2] COPY a /a", started_s=1.0)
    ended = Vertex("a", "[1/2] COPY a /a", started_s=1.0, completed_s=1.25)
    cached = Vertex("b", "[2/2] RUN x", cached=True, started_s=2.0, completed_s=2.0)

    assert told(Vertex("a", "waiting"), begun, begun, ended, ended, cached) == [
        "#1 [1/2] COPY a /a",
        "#1 DONE 0.2s",
        "#2 [2/2] RUN x",
        "#2 CACHED",
    ]


def test_output_belongs_to_its_step() -> None:
    assert told(
        Vertex("a", "RUN a", started_s=1.0),
        Vertex("b", "RUN b", started_s=1.0),
        Output("a", b"one\ntw"),
        Output("b", b"other\n"),
        Output("a", b"o\nrest"),
        Vertex("a", "RUN a", started_s=1.0, completed_s=2.0),
    ) == ["#1 RUN a", "#2 RUN b", "#1 | one", "#2 | other", "#1 | two", "#1 | rest", "#1 DONE 1.0s"]


def test_lines_of_the_two_streams_do_not_mix() -> None:
    assert told(
        Vertex("a", "RUN a", started_s=1.0),
        Output("a", b"hal"),
        Output("a", b"error\n", is_error=True),
        Output("a", b"f\n"),
    ) == ["#1 RUN a", "#1 | error", "#1 | half"]


def test_cause_is_that_of_the_failed_step() -> None:
    progress = Progress(lambda _event: None)
    progress.feed(Output("a", b"error: of another step\n", is_error=True))
    progress.feed(Output("b", b"error: of this one\nmake: *** [all] Error 1\n"))
    progress.feed(Vertex("a", "RUN a", started_s=1.0, completed_s=2.0))
    progress.feed(Vertex("b", "RUN b", started_s=1.0, completed_s=2.0, error="exit code: 2"))

    assert progress.cause.line == "error: of this one"


def test_failed_step_is_told_and_remembered() -> None:
    lines: list[str] = []
    progress = Progress(shown_to(lines.append))
    failed = Vertex("a", "RUN\n  x", started_s=1.0, completed_s=2.0, error="exit code: 2\nmore")
    progress.feed(failed)

    assert lines == ["#1 RUN x", "#1 ERROR: exit code: 2 more"]
    assert progress.failed == failed


def test_secrets_in_what_a_step_is_called_and_failed_with_stay_whole() -> None:
    # The log masks what it is given, and could not know half of one, or one with a blank less.
    secret = "two  blanks and hunter2-hunter2"
    name, error = f"RUN {'x' * 3980} {secret}", f"{'y' * 3980}\n{secret}"
    failed = Vertex("a", name, started_s=1.0, completed_s=2.0, error=error)

    assert all(secret in line for line in told(failed))


def test_what_a_progress_bar_last_drew_is_kept() -> None:
    assert Lines().feed(b"10%\r50%\r100%\r\nnext\r\n\n") == ["100%", "next", ""]


def test_endless_progress_bar_stays_within_bounds() -> None:
    lines = Lines()

    assert [line for _ in range(1000) for line in lines.feed(b"\r" + b"=" * 70)] == []
    assert lines.end() == ["=" * 70]


def test_character_cut_between_two_pieces_is_put_together() -> None:
    lines = Lines()

    assert lines.feed("é".encode()[:1]) == []
    assert lines.feed("é\n".encode()[1:]) == ["é"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert Lines().feed(b"\xff\n") == ["\N{REPLACEMENT CHARACTER}"]


@given(st.lists(st.binary(max_size=9000), max_size=8))
def test_no_line_is_ever_too_long(pieces: list[bytes]) -> None:
    begun = Vertex("a", "RUN " + "x" * 90_000, started_s=1.0)
    ended = Vertex("b", "x", started_s=1.0, completed_s=2.0, error="y" * 90_000)
    lines = told(begun, ended, *(Output("a", piece) for piece in pieces))

    assert all(len(line) <= LONGEST_QUOTED + 40 and "\n" not in line for line in lines)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_lines_come_out_as_they_went_in(texts: list[str]) -> None:
    lines = Lines()
    data = "".join(f"{text}\n" for text in texts).encode()
    seen = [line for start in range(len(data)) for line in lines.feed(data[start : start + 1])]

    assert seen == texts
    assert lines.end() == []


def test_of_a_line_that_is_too_long_the_beginning_is_held() -> None:
    lines = Lines()
    seen = lines.feed(b"a" + b"x" * MOST_HELD_BYTES)
    seen += [line for _ in range(9) for line in lines.feed(b"y" * MOST_HELD_BYTES)]

    assert seen == []
    assert lines.feed(b"y\nnext\n") == ["a" + "x" * (MOST_HELD_BYTES - 1), "next"]


def test_a_progress_bar_that_never_ends_its_line_is_shown_as_it_was_drawn_last() -> None:
    lines = Lines()
    for percent in range(100):
        assert lines.feed(b"\r" + f"{percent} %".encode() + b"#" * 10_000) == []

    assert lines.feed(b"\rdone\n") == ["done"]
