"""A deployment's log as numbered lines for a page: a window of it, however long it is.

What an event looks like on a page is said here alone: a page gets windows of a log, and what is
written later, as HTML.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from dashboard.ansi import to_html
from dashboard.labels import STEP_WORDS
from jobs.reads.log_outline import Outline
from jobs.reads.views import OutlineView, SectionView
from jobs.rules.log_events import EventKind, LogEvent, parse, stamp

SHOWN_LINES = 400
MOST_LINES = 2000  # that may be asked for at once
EXCERPT_LINES = 12
MARKS = {
    EventKind.NAME: "named",
    EventKind.CACHED: "cached",
    EventKind.DONE: "done",
    EventKind.ERROR: "error",
}
NOTHING = Markup()
WORDS: Mapping[str, str] = {str(name): word for name, word in STEP_WORDS.items()}
VERDICTS = frozenset({"failure", "error", "cancelled", "superseded"})


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    number: int  # from 1, in the whole log
    event: LogEvent


@dataclass(frozen=True)
class Block:
    """Neighbouring lines of one step; a page fetches those of an empty block when it needs them."""

    first: int
    last: int
    html: Markup = NOTHING


@dataclass(frozen=True)
class Chapter:
    """What one step wrote, without a break."""

    word: str
    first: int
    last: int
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Transcript:
    """A log as a page begins with it."""

    outline: OutlineView
    chapters: Sequence[Chapter]
    first: int  # the first line that is shown
    shown: int  # how many are


EMPTY = Transcript(OutlineView(lines=0, size=0, sections=[], build=[]), (), 1, 0)


def read_transcript(outline: Outline, *, from_end: bool, most: int = SHOWN_LINES) -> Transcript:
    """Give a log's chapters, with its first or its last lines in them."""
    found = outline.view()
    first = max(found.lines - most + 1, 1) if from_end else 1
    lines = read_lines(outline, first, min(most, found.lines - first + 1))
    chapters = [_chapter(section, lines) for section in found.sections]
    return Transcript(found, chapters, first, len(lines))


def read_lines(outline: Outline, first: int, most: int) -> list[Line]:
    """Give at most so many lines from one on, at most `MOST_LINES`; fewer when there are none."""
    raws = outline.read(first, min(most, MOST_LINES))
    return [Line(number, parse(raw)) for number, raw in enumerate(raws, first)]


def draw(lines: Iterable[Line], opening: Iterable[SectionView] = ()) -> Markup:
    """Give lines as HTML; those that open a section say so, for a page that is being read."""
    opens = {section.first: step_word(section.step) for section in opening}
    return Markup("\n").join(_line(line, opens.get(line.number)) for line in lines)


def step_word(step: str) -> str:
    """Say what wrote a line; a verdict stands below what led to it."""
    return WORDS.get(step, step.capitalize())


def excerpt(outline: Outline, *, most: int = EXCERPT_LINES) -> list[Markup]:
    """Give the last lines before the verdict at a log's end: what failed said last."""
    last = next((s.last for s in reversed(outline.view().sections) if s.step not in VERDICTS), 0)
    lines = read_lines(outline, max(last - most + 1, 1), min(most, last))
    events = [line.event for line in lines]
    return [to_html(event.shown) for event in events if event.step == events[-1].step]


def _chapter(section: SectionView, lines: Sequence[Line]) -> Chapter:
    first, last = section.first, section.last
    mine = [line for line in lines if first <= line.number <= last]
    blocks = [Block(first, last)]
    if mine:
        start, end = mine[0].number, mine[-1].number
        around = (Block(first, start - 1), Block(start, end, draw(mine)), Block(end + 1, last))
        blocks = [block for block in around if block.first <= block.last]
    return Chapter(step_word(section.step), first, last, blocks)


def _line(line: Line, opens: str | None) -> Markup:
    n, event = line.number, line.event
    step = f' data-step="{escape(opens)}"' if opens is not None else ""
    mark = f' class="{MARKS[event.kind]}"' if event.kind in MARKS else ""
    clock = _clock(stamp(event.at)) if event.at else ""
    # Put together by hand, since pages have many lines: a stamp and a mark are of a known form.
    return Markup(  # noqa: S704
        f'<div id="L{n}"{step}{mark}><a href="#L{n}">{n}</a>{clock}'
        f"<span>{to_html(event.shown)}</span></div>"
    )


def _clock(moment: str) -> str:
    return f'<time datetime="{moment}">{moment[11:19]}</time>'
