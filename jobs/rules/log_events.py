"""The events of a deployment's log, and their format on disk. Pure.

A line of the file consists of an envelope, a bar, and the text of the event:

    2026-11-23T15:45:58.123Z checkout | commit 4c9e756 of main
    2026-11-23T15:45:58.123Z build #3 | [2/3] RUN make
    2026-11-23T15:45:58.123Z build #3 > | gcc -o app app.c
    2026-11-23T15:45:58.123Z build #3 DONE 0.1s |
    2026-11-23T15:45:58.123Z build #4 CACHED |
    2026-11-23T15:45:58.123Z build #5 ERROR: | exit code: 1

Only Keystone writes the envelope. The text may come from a repository, so it never decides the type
of a line. In plain text the bar stands right after the step: `build | #4 CACHED`. Both forms of a
line have the same length, so an offset in bytes is valid in the file and in the plain text.

Logs of earlier versions hold the builder's events as plain text. They stay readable as lines of
their step, but the table of build steps is empty.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from jobs.states import DeploymentState, StepName

STEPS = frozenset(map(str, (*StepName, *DeploymentState)))  # a log ends with the verdict
STAMP = 24  # bytes
TIME_END = STAMP - 1  # offset of the `Z`
NO_LINE = b"\n"  # occurs in no line, so it matches none
STEP_AT = STAMP + 1  # offset of the step
BAR = b" |"
LONGEST_HEAD = 64  # bytes of an envelope after its time, at most
LONGEST_ENVELOPE = STEP_AT + LONGEST_HEAD + len(" | ")
MOST_SECONDS = 10**7


class EventKind(StrEnum):
    """The kind of an event."""

    TEXT = "text"
    # The rest are events of a vertex: one step of an image's build.
    NAME = "name"
    OUTPUT = "output"
    CACHED = "cached"
    DONE = "done"
    ERROR = "error"


WORDS = {
    EventKind.OUTPUT: ">",
    EventKind.CACHED: "CACHED",
    EventKind.DONE: "DONE",
    EventKind.ERROR: "ERROR:",
}
KINDS = {word: kind for kind, word in WORDS.items()}
WITHOUT_TEXT = frozenset({EventKind.CACHED, EventKind.DONE})


@dataclass(frozen=True)
class BuildEvent:
    """An event from the builder: about one vertex, or a text about the whole build."""

    kind: EventKind
    text: str = ""
    vertex: int | None = None
    seconds: float | None = None  # how long the vertex took, once it is done

    @property
    def shown(self) -> str:
        """The event in plain text: `#3 [2/3] RUN make`."""
        return _lead(self.kind, self.vertex, self.seconds) + self.text


@dataclass(frozen=True)
class LogEvent:
    """One line of a deployment's log; a line without an envelope has no time and no step."""

    at: datetime | None
    step: str
    kind: EventKind
    text: str = ""
    vertex: int | None = None
    seconds: float | None = None

    @property
    def shown(self) -> str:
        """The event in plain text, without its time and step."""
        return _lead(self.kind, self.vertex, self.seconds) + self.text

    @property
    def line(self) -> str:
        """The event in plain text, with its time and step."""
        return self.text if self.at is None else f"{stamp(self.at)} {self.step} | {self.shown}"


class Head(NamedTuple):
    """An envelope without its time."""

    step: str
    kind: EventKind
    vertex: int | None = None
    seconds: float | None = None


def encode(event: LogEvent) -> str:
    """Encode an event as a line without its line end; the event's text must be one line."""
    if event.at is None:
        return event.text
    head = _written(Head(event.step, event.kind, event.vertex, event.seconds))
    text = "" if event.kind in WITHOUT_TEXT else f" {event.text}"
    return f"{stamp(event.at)} {head} |{text}"


def parse(line: bytes) -> LogEvent:
    """Parse a line without its line end; a line without a valid envelope becomes plain text."""
    found = read_envelope(line)
    if found is None:
        return plain(line)
    at, head, begin = found
    text = line[begin:].decode(errors="replace")
    return LogEvent(at, head.step, head.kind, text, head.vertex, head.seconds)


def plain(line: bytes) -> LogEvent:
    """Give a line, or a part of one, as a text event without time and step."""
    return LogEvent(None, "", EventKind.TEXT, line.decode(errors="replace"))


def shown_line(line: bytes) -> bytes:
    """Convert a line to its plain-text form, which has the same length as on disk."""
    found = read_envelope(line)
    if found is None or found[1].vertex is None:
        return line
    _, head, begin = found
    lead = f"{head.step} | {_lead(head.kind, head.vertex, head.seconds)}"
    return b"".join((line[:STEP_AT], lead.encode(), line[begin:]))


def shown_texts(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Convert lines to their plain-text form, without their times and steps."""
    known, lead = NO_LINE, b""
    for line in lines:
        # Most lines of a long log have the same envelope as the line before, except for the time.
        if line.startswith(known, TIME_END):
            yield lead + line[TIME_END + len(known) :]
        elif (found := read_envelope(line)) is None:
            yield line
        else:
            _, head, begin = found
            known = NO_LINE if head.kind in WITHOUT_TEXT else line[TIME_END:begin]
            lead = _lead(head.kind, head.vertex, head.seconds).encode()
            yield lead + line[begin:]


def read_envelope(line: bytes) -> tuple[datetime, Head, int] | None:
    """Parse the envelope alone.

    Returns:
        The time, the head, and the offset of the text; None if the line has no envelope that
        `encode` could have written.
    """
    bar = line.find(BAR, STEP_AT, STEP_AT + LONGEST_HEAD)
    if bar < 0:
        return None
    at, head = _moment(line[:STEP_AT]), _head(line[STEP_AT:bar])
    if at is None or head is None:
        return None
    begin = bar + len(BAR)
    if head.kind in WITHOUT_TEXT:
        return (at, head, begin) if begin == len(line) else None
    return (at, head, begin + 1) if line.startswith(b" ", begin) else None


# Cached: neighbouring lines often have the same time, and a log has few different envelopes.


@lru_cache(maxsize=1024)
def stamp(at: datetime) -> str:
    """Format a UTC time as at the beginning of a line."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1024)
def _moment(written: bytes) -> datetime | None:
    try:
        at = datetime.fromisoformat(written[:STAMP].decode("ascii"))
    except ValueError:
        return None
    return at if f"{stamp(at)} ".encode() == written else None


@lru_cache(maxsize=4096)
def _head(written: bytes) -> Head | None:
    step, *words = written.decode(errors="replace").split(" ")
    if step not in STEPS:
        return None
    if not words:
        return Head(step, EventKind.TEXT)
    head = _vertex_head(*words) if step == StepName.BUILD else None
    # Python parses more forms of numbers than `encode` writes.
    return head if head and _written(head).encode() == written else None


def _vertex_head(number: str, word: str = "", took: str = "", *_rest: str) -> Head | None:
    kind = KINDS.get(word, EventKind.NAME)
    try:
        vertex = int(number.removeprefix("#"))
        seconds = float(took.removesuffix("s")) if kind is EventKind.DONE else None
    except ValueError:
        return None
    is_known = vertex > 0 and 0 <= (seconds or 0) < MOST_SECONDS
    return Head(StepName.BUILD, kind, vertex, seconds) if is_known else None


@lru_cache(maxsize=4096)
def _written(head: Head) -> str:
    return " ".join(filter(None, (head.step, _mark(head.kind, head.vertex, head.seconds))))


@lru_cache(maxsize=4096)
def _lead(kind: EventKind, vertex: int | None, seconds: float | None) -> str:
    """Give the prefix of an event's text in plain text."""
    mark = f"#{vertex} |" if kind is EventKind.OUTPUT else _mark(kind, vertex, seconds)
    return mark if not mark or kind in WITHOUT_TEXT else f"{mark} "


def _mark(kind: EventKind, vertex: int | None, seconds: float | None) -> str:
    """Give the part of an envelope for kind and vertex; "" for a plain text."""
    if kind is EventKind.TEXT:
        return ""
    words = [f"#{vertex}", WORDS.get(kind, "")]
    if kind is EventKind.DONE:
        words.append(f"{seconds or 0.0:.1f}s")
    return " ".join(filter(None, words))
