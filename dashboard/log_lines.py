"""A deployment's log as numbered lines for a page: a window of it, however long it is.

`jobs.storage.deployment_log` says how a line is written: `2026-11-23T15:45:58.123Z build | text`.
What a line looks like is said here alone: a page gets windows of a log, and what is written later,
as HTML.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

from dashboard.ansi import to_html
from dashboard.labels import STEP_WORDS
from jobs.reads.log_outline import Outline
from jobs.reads.views import OutlineView, SectionView
from jobs.states import StepName

SHOWN_LINES = 400
MOST_LINES = 2000  # that may be asked for at once
EXCERPT_LINES = 12
STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\w{1,20}) \| (.*)", re.DOTALL)
# The builder's own lines, as `jobs.adapters.buildkit.progress` writes them: `#3 CACHED`.
BUILDER = re.compile(r"#\d+ (\[|CACHED$|DONE |ERROR: )")
MARKS = {"[": "named", "CACHED": "cached", "DONE ": "done", "ERROR: ": "error"}
NOTHING = Markup()
WORDS: Mapping[str, str] = {str(name): word for name, word in STEP_WORDS.items()}
VERDICTS = frozenset({"failure", "error", "cancelled", "superseded"})


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    number: int  # from 1, in the whole log
    stamp: str  # as it is written; empty for a line without one
    step: str
    text: str
    mark: str  # what a line of the builder's tells: a word of `MARKS`, or nothing


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
    return [parse_line(n, raw.decode(errors="replace")) for n, raw in enumerate(raws, first)]


def parse_line(number: int, text: str) -> Line:
    """Take a line apart; one that is not stamped is all text."""
    found = STAMPED.fullmatch(text)
    stamp, step, rest = found.groups() if found and _is_moment(found[1]) else ("", "", text)
    return Line(number, stamp, step, rest, _mark(step, rest))


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
    return [to_html(line.text) for line in lines if line.step == lines[-1].step]


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
    n, stamp = line.number, line.stamp
    step = f' data-step="{escape(opens)}"' if opens is not None else ""
    mark = f' class="{line.mark}"' if line.mark else ""
    clock = f'<time datetime="{stamp}">{stamp[11:19]}</time>' if stamp else ""
    # Put together by hand, since pages have many lines: a stamp and a mark are of a known form.
    return Markup(  # noqa: S704
        f'<div id="L{n}"{step}{mark}><a href="#L{n}">{n}</a>{clock}'
        f"<span>{to_html(line.text)}</span></div>"
    )


def _mark(step: str, text: str) -> str:
    found = BUILDER.match(text) if step == StepName.BUILD else None
    return MARKS[found[1]] if found else ""


def _is_moment(stamp: str) -> bool:
    try:
        datetime.fromisoformat(stamp)
    except ValueError:  # a stamp of a month that does not exist: somebody wrote to the file
        return False
    return True
