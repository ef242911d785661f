"""Renders a deployment's log as numbered lines of HTML, in windows of a bounded size.

Only this module defines how a log event looks on a page. A page gets windows of the log, and lines
that are written later, as HTML.
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
MOST_LINES = 2000  # per request
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
    """Consecutive lines of one step; the page fetches the lines of an empty block when needed."""

    first: int
    last: int
    html: Markup = NOTHING


@dataclass(frozen=True)
class Chapter:
    """The consecutive lines that one step wrote."""

    word: str
    first: int
    last: int
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Transcript:
    """The initial window of a log on a page."""

    outline: OutlineView
    chapters: Sequence[Chapter]
    first: int  # the number of the first line that is shown
    shown: int  # how many lines are shown


EMPTY = Transcript(OutlineView(lines=0, size=0, sections=[], build=[]), (), 1, 0)


def read_transcript(outline: Outline, *, from_end: bool, most: int = SHOWN_LINES) -> Transcript:
    """Give a log's chapters, filled with the first or the last lines of the log."""
    found = outline.view()
    first = max(found.lines - most + 1, 1) if from_end else 1
    lines = read_lines(outline, first, min(most, found.lines - first + 1))
    chapters = [_chapter(section, lines) for section in found.sections]
    return Transcript(found, chapters, first, len(lines))


def read_lines(outline: Outline, first: int, most: int) -> list[Line]:
    """Give up to `most` lines from line `first` on, but never more than `MOST_LINES`."""
    raws = outline.read(first, min(most, MOST_LINES))
    return [Line(number, parse(raw)) for number, raw in enumerate(raws, first)]


def draw(lines: Iterable[Line], opening: Iterable[SectionView] = ()) -> Markup:
    """Render lines as HTML; the first line of a section names its step, for the page's script."""
    opens = {section.first: step_word(section.step) for section in opening}
    return Markup("\n").join(_line(line, opens.get(line.number)) for line in lines)


def step_word(step: str) -> str:
    """Give the name of the step that wrote a line; a verdict is a step of its own."""
    return WORDS.get(step, step.capitalize())


def excerpt(outline: Outline, *, most: int = EXCERPT_LINES) -> list[Markup]:
    """Give the last lines before the verdict at a log's end; the failed step wrote them."""
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
    # Formatted without escaping, since pages have many lines: stamp and mark have a known form.
    return Markup(  # noqa: S704
        f'<div id="L{n}"{step}{mark}><a href="#L{n}">{n}</a>{clock}'
        f"<span>{to_html(event.shown)}</span></div>"
    )


def _clock(moment: str) -> str:
    return f'<time datetime="{moment}">{moment[11:19]}</time>'
