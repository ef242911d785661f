"""The events of a log: what is written is read back, and no text passes for an envelope."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.log_events import (
    LONGEST_ENVELOPE,
    MOST_SECONDS,
    STEPS,
    WITHOUT_TEXT,
    EventKind,
    LogEvent,
    encode,
    parse,
    shown_line,
    shown_texts,
)
from jobs.states import StepName

STAMP = "2026-11-23T15:45:58.123Z"
AT = datetime(2026, 11, 23, 15, 45, 58, 123_000, tzinfo=UTC)
# What stands in a log or looks as if it did.
LOOKALIKES = [
    "#3 DONE 0.1s",
    "#3 CACHED |",
    "#3 > | x",
    f"{STAMP} switch | x",
    f"{STAMP} build #3 DONE 0.1s |",
    f"\r{STAMP} build #3 CACHED |",
    f"\x1b[2K\x1b[1G{STAMP} build #1 | forged",
    " | ",
    " |",
    "|",
    "> | ",
    "DONE 9.9s |",
    "",
]
PARTS = st.sampled_from([*LOOKALIKES, STAMP, "build", "#1", " ", "\r", "\x1b[31m"]) | st.text(
    st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=9
)
TEXTS = st.lists(PARTS, max_size=5).map("".join)


@st.composite
def events(draw: st.DrawFn) -> LogEvent:
    moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    at = draw(moments)
    at -= timedelta(microseconds=at.microsecond % 1000)
    kind = draw(st.sampled_from(EventKind))
    text = "" if kind in WITHOUT_TEXT else draw(TEXTS)
    if kind is EventKind.TEXT:
        return LogEvent(at, draw(st.sampled_from(sorted(STEPS))), kind, text)
    seconds = None
    if kind is EventKind.DONE:
        seconds = draw(st.integers(0, MOST_SECONDS * 10 - 1)) / 10
    return LogEvent(at, StepName.BUILD, kind, text, draw(st.integers(1, 10**12)), seconds)


@pytest.mark.parametrize(
    ("line", "event", "text"),
    [
        ("build | a | b", LogEvent(AT, "build", EventKind.TEXT, "a | b"), "a | b"),
        ("failure | ", LogEvent(AT, "failure", EventKind.TEXT), ""),
        ("build #3 | [2/3] X", LogEvent(AT, "build", EventKind.NAME, "[2/3] X", 3), "#3 [2/3] X"),
        ("build #3 > | x", LogEvent(AT, "build", EventKind.OUTPUT, "x", 3), "#3 | x"),
        ("build #3 > | ", LogEvent(AT, "build", EventKind.OUTPUT, "", 3), "#3 | "),
        ("build #3 CACHED |", LogEvent(AT, "build", EventKind.CACHED, "", 3), "#3 CACHED"),
        ("build #3 DONE 0.1s |", LogEvent(AT, "build", EventKind.DONE, "", 3, 0.1), "#3 DONE 0.1s"),
        ("build #3 ERROR: | x", LogEvent(AT, "build", EventKind.ERROR, "x", 3), "#3 ERROR: x"),
    ],
)
def test_each_kind_has_one_form_on_disk_and_one_for_readers(
    line: str, event: LogEvent, text: str
) -> None:
    assert encode(event) == f"{STAMP} {line}"
    assert parse(f"{STAMP} {line}".encode()) == event
    assert event.shown == text
    assert event.line == f"{STAMP} {event.step} | {text}"


@given(events())
def test_what_is_written_is_read_back(event: LogEvent) -> None:
    assert parse(encode(event).encode()) == event


@given(events())
def test_the_form_for_readers_is_as_long_as_that_on_disk(event: LogEvent) -> None:
    line = encode(event).encode()
    assert shown_line(line) == event.line.encode()
    assert len(shown_line(line)) == len(line)
    assert len(line) - len(event.text.encode()) <= LONGEST_ENVELOPE


@given(st.binary(max_size=120) | TEXTS.map(lambda text: f"{STAMP} build {text}".encode()))
def test_a_line_without_an_envelope_is_all_text(line: bytes) -> None:
    event = parse(line)
    if event.at is None:
        assert event == LogEvent(None, "", EventKind.TEXT, line.decode(errors="replace"))
        assert shown_line(line) == line
    else:  # only what `encode` writes has one
        assert encode(event).encode() == line.decode(errors="replace").encode()


@given(
    st.lists(
        events().map(encode).map(str.encode)
        | st.binary(max_size=120)
        | st.sampled_from([" | x", " | ", " |", ""]).map(
            lambda end: f"{STAMP} build #4 CACHED{end}".encode()
        ),
        max_size=20,
    )
)
def test_the_texts_of_neighbouring_lines_are_those_of_each(lines: list[bytes]) -> None:
    doubled = [line for line in lines for _ in range(2)]
    texts = [text.decode(errors="replace") for text in shown_texts(doubled)]
    assert texts == [parse(line).shown for line in doubled]


@pytest.mark.parametrize(
    "line",
    [
        "2026-99-23T15:45:58.123Z build | x",
        "2026-W48-1T15:45:58.123Z build | x",
        "2026-11-23 15:45:58.123Z build | x",
        f"{STAMP}  build | x",
        f"{STAMP} build| x",
        f"{STAMP} build |x",
        f"{STAMP} Build | x",
        f"{STAMP} nonsense | x",
        f"{STAMP} start #3 | x",
        f"{STAMP} build 3 | x",
        f"{STAMP} build #03 | x",
        f"{STAMP} build #-3 | x",
        f"{STAMP} build #\u0663 | x",
        f"{STAMP} build #3 >  | x",
        f"{STAMP} build #3 cached |",
        f"{STAMP} build #3 CACHED | x",
        f"{STAMP} build #3 CACHED | ",
        f"{STAMP} build #3 DONE |",
        f"{STAMP} build #3 DONE 1s |",
        f"{STAMP} build #3 DONE nans |",
        f"{STAMP} build #3 DONE -0.1s |",
        f"{STAMP} build #3 DONE 99999999.0s |",
        f"{STAMP} build #3 DONE 0.1s x |",
        f"x{STAMP} build | x",
    ],
)
def test_almost_an_envelope_is_none(line: str) -> None:
    assert parse(line.encode()) == LogEvent(None, "", EventKind.TEXT, line)


@pytest.mark.parametrize("text", LOOKALIKES)
def test_a_log_of_an_earlier_version_has_texts_only(text: str) -> None:
    event = parse(f"{STAMP} build | {text}".encode())
    assert event == LogEvent(AT, "build", EventKind.TEXT, text)
