"""The outline of a deployment's log: the number of lines, the sections by step, the build steps.

A log may have a million lines, of which pages show only a few. So the outline stores the offset of
each 256th line, and is updated as the log grows. It is computed from the log alone, so it works for
every kind of deployment. A log of an earlier version has no events of the builder, so its outline
has no build steps.
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

# The kinds of events that the outline ignores.
SKIPPED = frozenset({EventKind.TEXT, EventKind.OUTPUT})
SPACING = 256  # lines from one stored offset to the next
PIECE_BYTES = 1024 * 1024
MOST_SECTIONS = 500
MOST_BUILD_STEPS = 1000
LONGEST_NAME = 300
MOST_OUTLINES = 32


@dataclass
class BuildStep:
    """One step of the build; `number` is the vertex number of its events."""

    number: int
    line: int
    name: str
    state: BuildStepState = BuildStepState.RUNNING
    seconds: float | None = None

    def hear(self, event: LogEvent) -> None:
        """Update the step from an event of the builder."""
        match event.kind:
            case EventKind.CACHED:
                self.state, self.seconds = BuildStepState.CACHED, 0.0
            case EventKind.DONE:
                self.state, self.seconds = BuildStepState.DONE, event.seconds
            case EventKind.ERROR:
                self.state = BuildStepState.FAILURE

    def view(self) -> BuildStepView:
        """Give the step's view."""
        return BuildStepView(**vars(self))


@dataclass
class _Reading:
    """The part of a log that was read, and the results."""

    lines: int = 0
    size: int = 0  # bytes of whole lines
    places: list[int] = field(default_factory=lambda: [0])  # offsets of each `SPACING`th line
    sections: list[SectionView] = field(default_factory=list)
    build: dict[int, BuildStep] = field(default_factory=dict)
    known: bytes = NO_LINE  # the last envelope without its time, if its event is in `SKIPPED`


class Outline:
    """The outline of one log. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = _Reading()
        self._lock = threading.Lock()

    def update(self) -> bool:
        """Read the lines written since the last update; return whether the log exists."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    if file.seek(0, 2) < self._found.size:
                        self._found = _Reading()  # the file is another log now
                    file.seek(self._found.size)
                    while (data := file.read(PIECE_BYTES)) and self._take(data):
                        file.seek(self._found.size)
            except FileNotFoundError:
                return False
            return True

    @property
    def lines(self) -> int:
        """The number of whole lines at the last update."""
        return self._found.lines

    @property
    def size(self) -> int:
        """The size of these lines in bytes."""
        return self._found.size

    def view(self) -> OutlineView:
        """Give the outline's view."""
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
        """Read at most `most` lines from line `first` on, counted from 1; without line ends."""
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
        """Find the lines that contain a text, ignoring case and styles.

        Returns:
            The number of these lines, and the line numbers of the first `most` of them.
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
        """Process the whole lines of the data; return whether there were any."""
        found = self._found
        end = data.rfind(b"\n") + 1
        for raw in data[:end].split(b"\n")[:-1]:
            found.lines += 1
            # Most lines of a long log have the same envelope as the line before, except the time.
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
            found.build = {}  # the build was started again, and its vertex numbers restart at 1

    def _hear_builder(self, event: LogEvent) -> None:
        build, number = self._found.build, event.vertex or 0
        if step := build.get(number):
            step.hear(event)
        elif event.kind is EventKind.NAME and len(build) < MOST_BUILD_STEPS:
            build[number] = BuildStep(number, self._found.lines, event.text[:LONGEST_NAME])


def _places(data: str, wanted: str) -> Iterator[int]:
    """Give the indexes, from 0, of the lines that contain the text."""
    place = end = 0
    while (at := data.find(wanted, end)) >= 0:
        place += data.count("\n", end, at)
        yield place
        line_end = data.find("\n", at)
        if line_end < 0:
            return
        place, end = place + 1, line_end + 1


class Outlines:
    """A cache of the outlines of the most recently used logs."""

    def __init__(self, most: int = MOST_OUTLINES) -> None:
        self._kept: OrderedDict[Path, Outline] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def of(self, path: Path) -> Outline:
        """Give the updated outline of a log; it is empty if the log does not exist."""
        with self._lock:
            outline = self._kept.setdefault(path, Outline(path))
            self._kept.move_to_end(path)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        outline.update()
        return outline
