"""The outline of a deployment's log: how many lines, which step wrote which, what was built.

A log may have a million lines, and pages look at a few of them: the outline knows where each
256th line begins, is kept up as the log grows, and is read from the log alone, so that whatever
made the log is described alike. A log of an earlier version has no events of the builder: its
outline has no build.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.reads.views import BuildStepView, OutlineView, SectionView
from jobs.rules.log_events import (
    NO_LINE,
    TIME_END,
    EventKind,
    LogEvent,
    parse,
    read_envelope,
    shown_texts,
)
from jobs.rules.text import STYLE
from jobs.states import BuildStepState, StepName

# The outline needs nothing of their events.
SKIPPED = frozenset({EventKind.TEXT, EventKind.OUTPUT})
SPACING = 256  # lines from one remembered place to the next
PIECE_BYTES = 1024 * 1024
MOST_SECTIONS = 500
MOST_BUILD_STEPS = 1000
LONGEST_NAME = 300
MOST_OUTLINES = 32


@dataclass
class BuildStep:
    """One step of the build, by the number that its events have."""

    number: int
    line: int
    name: str
    state: BuildStepState = BuildStepState.RUNNING
    seconds: float | None = None

    def hear(self, event: LogEvent) -> None:
        """Take in what the builder says of it."""
        match event.kind:
            case EventKind.CACHED:
                self.state, self.seconds = BuildStepState.CACHED, 0.0
            case EventKind.DONE:
                self.state, self.seconds = BuildStepState.DONE, event.seconds
            case EventKind.ERROR:
                self.state = BuildStepState.FAILURE

    def view(self) -> BuildStepView:
        """Give it for people and programs."""
        return BuildStepView(**vars(self))


@dataclass
class _Reading:
    """How far a log was read, and what was found."""

    lines: int = 0
    size: int = 0  # bytes of whole lines
    places: list[int] = field(default_factory=lambda: [0])  # where each `SPACING`th line begins
    sections: list[SectionView] = field(default_factory=list)
    build: dict[int, BuildStep] = field(default_factory=dict)
    known: bytes = NO_LINE  # the last envelope behind its time; only of an event that is skipped


class Outline:
    """What is known of one log. Any thread may ask."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = _Reading()
        self._lock = threading.Lock()

    def update(self) -> bool:
        """Read what was written since the last time; gives whether there is a log at all."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    if file.seek(0, 2) < self._found.size:
                        self._found = _Reading()  # another log in the same place
                    file.seek(self._found.size)
                    while (data := file.read(PIECE_BYTES)) and self._take(data):
                        file.seek(self._found.size)
            except FileNotFoundError:
                return False
            return True

    @property
    def lines(self) -> int:
        """How many whole lines the log had."""
        return self._found.lines

    @property
    def size(self) -> int:
        """How many bytes they had."""
        return self._found.size

    def view(self) -> OutlineView:
        """Give the outline as it is now."""
        with self._lock:
            found = self._found
            sections = [*found.sections]
            if sections:
                sections[-1] = sections[-1].model_copy(update={"last": found.lines})
            return OutlineView(
                lines=found.lines,
                size=found.size,
                sections=sections,
                build=[step.view() for step in found.build.values()],
            )

    def read(self, first: int, most: int) -> list[bytes]:
        """Give at most so many lines, without their ends, from a line on that counts from 1."""
        with self._lock:
            start, places = max(first - 1, 0), self._found.places
            count = min(most, self._found.lines - start)
            if count <= 0:
                return []
            ahead = start % SPACING
            begin = places[start // SPACING]
            after = (start + count) // SPACING + 1
            end = places[after] if after < len(places) else self._found.size
        with self.path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin).split(b"\n")[ahead : ahead + count]

    def line_at(self, offset: int) -> int:
        """Give the number, from 1, of the line that begins at an offset in bytes."""
        with self._lock:
            offset = min(offset, self._found.size)
            place = bisect_right(self._found.places, offset) - 1
            begin = self._found.places[place]
        with self.path.open("rb") as file:
            file.seek(begin)
            return place * SPACING + file.read(offset - begin).count(b"\n") + 1

    def find(self, text: str, *, most: int) -> tuple[int, list[int]]:
        """Find the lines that hold a text, in whatever case; colours are not in its way.

        Returns:
            How many there are, and the numbers of the first `most` of them.
        """
        found: list[int] = []
        total, number, wanted = 0, 1, text.lower()
        if "\n" in wanted:
            return 0, found  # a line has none
        with self.path.open("rb") as file:
            left = self._found.size
            while data := file.read(min(PIECE_BYTES, left)):
                data += file.readline()
                left = max(left - len(data), 0)
                shown = b"\n".join(shown_texts(data.split(b"\n")))
                for place in _places(STYLE.sub("", shown.decode(errors="replace")).lower(), wanted):
                    total += 1
                    if len(found) < most:
                        found.append(number + place)
                number += data.count(b"\n")
        return total, found

    def _take(self, data: bytes) -> bool:
        """Take whole lines in; gives whether there were any."""
        found = self._found
        end = data.rfind(b"\n") + 1
        for raw in data[:end].split(b"\n")[:-1]:
            found.lines += 1
            # Most lines of a long log have the envelope of the line before, with another time.
            if not raw.startswith(found.known, TIME_END):
                self._take_line(raw)
            found.size += len(raw) + 1
            if found.lines % SPACING == 0:
                found.places.append(found.size)
        return end > 0

    def _take_line(self, raw: bytes) -> None:
        envelope, self._found.known = read_envelope(raw), NO_LINE
        self._open_section(envelope[1].step if envelope else "")
        if envelope is None:
            return
        _, head, begin = envelope
        if head.kind in SKIPPED:
            self._found.known = raw[TIME_END:begin]
        else:
            self._hear_builder(parse(raw))

    def _open_section(self, step: str) -> None:
        found = self._found
        if found.sections and (
            found.sections[-1].step == step or len(found.sections) >= MOST_SECTIONS
        ):
            return
        if found.sections:
            found.sections[-1] = found.sections[-1].model_copy(update={"last": found.lines - 1})
        found.sections.append(SectionView(step=step, first=found.lines, last=found.lines))
        if step == StepName.BUILD:
            found.build = {}  # begun again: its numbers begin at 1 again

    def _hear_builder(self, event: LogEvent) -> None:
        build, number = self._found.build, event.vertex or 0
        if step := build.get(number):
            step.hear(event)
        elif event.kind is EventKind.NAME and len(build) < MOST_BUILD_STEPS:
            build[number] = BuildStep(number, self._found.lines, event.text[:LONGEST_NAME])


def _places(data: str, wanted: str) -> Iterator[int]:
    """Give which of the lines hold the text, counting from 0."""
    place = end = 0
    while (at := data.find(wanted, end)) >= 0:
        place += data.count("\n", end, at)
        yield place
        line_end = data.find("\n", at)
        if line_end < 0:
            return
        place, end = place + 1, line_end + 1


class Outlines:
    """The outlines of the logs that were looked at last."""

    def __init__(self, most: int = MOST_OUTLINES) -> None:
        self._kept: OrderedDict[Path, Outline] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def of(self, path: Path) -> Outline:
        """Give the outline of a log, brought up to date; without a log it is empty."""
        with self._lock:
            outline = self._kept.setdefault(path, Outline(path))
            self._kept.move_to_end(path)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        outline.update()
        return outline
