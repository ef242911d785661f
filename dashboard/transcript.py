"""A deployment's log as numbered lines for a page: its end only, however long it is.

`jobs.logs` says how a line is written: `2026-11-23T15:45:58.123Z build | text`.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from dashboard.ansi import to_html
from jobs.states import StepName

SHOWN_LINES = 2000
SHOWN_BYTES = 1024 * 1024
STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\w{1,20}) \| (.*)", re.DOTALL)
# The builder's own lines, as `jobs.adapters.buildkit.progress` writes them: `#3 CACHED`.
BUILDER = re.compile(r"#\d+ (\[|CACHED$|DONE |ERROR: )")
MARKS = {"[": "named", "CACHED": "cached", "DONE ": "done", "ERROR: ": "error"}


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    number: int  # from 1, in the whole log
    at: datetime | None
    step: str
    html: Markup
    opens: bool  # whether its step is another than that of the line before
    mark: str  # what a line of the builder's tells: a word of `MARKS`, or nothing

    @property
    def classes(self) -> str:
        """The classes that make it look so."""
        return " ".join(word for word in ("opens" if self.opens else "", self.mark) if word)


@dataclass(frozen=True)
class Transcript:
    """The end of a log."""

    lines: list[Line] = field(default_factory=list)
    total: int = 0  # lines in the whole log
    next_offset: int = 0  # bytes; where what comes later begins
    exists: bool = False


def read_transcript(
    path: Path, *, most_lines: int = SHOWN_LINES, most_bytes: int = SHOWN_BYTES
) -> Transcript:
    """Read the last whole lines of a log, at most so many lines and about so many bytes.

    A log is at most 50 MiB, so counting all of its lines stays cheap.
    """
    kept: deque[bytes] = deque()
    size = total = offset = 0
    try:
        with path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break  # still being written
                kept.append(raw)
                size, total, offset = size + len(raw), total + 1, offset + len(raw)
                while kept and (len(kept) > most_lines or size > most_bytes):
                    size -= len(kept.popleft())
    except FileNotFoundError:
        return Transcript()
    return Transcript(_lines(kept, total - len(kept) + 1), total, offset, exists=True)


def _lines(raws: deque[bytes], first: int) -> list[Line]:
    lines: list[Line] = []
    for number, raw in enumerate(raws, start=first):
        last_step = lines[-1].step if lines else None
        lines.append(parse_line(number, raw.decode(errors="replace").rstrip("\n"), last_step))
    return lines


def parse_line(number: int, text: str, last_step: str | None) -> Line:
    """Take a line apart; one that is not stamped is all text."""
    found = STAMPED.fullmatch(text)
    at, step, rest = found.groups() if found else ("", "", text)
    return Line(
        number, _moment(at), step, to_html(rest), opens=step != last_step, mark=_mark(step, rest)
    )


def _mark(step: str, text: str) -> str:
    found = BUILDER.match(text) if step == StepName.BUILD else None
    return MARKS[found[1]] if found else ""


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp) if stamp else None
    except ValueError:  # a stamp of a month that does not exist: somebody wrote to the file
        return None
