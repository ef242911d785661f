"""Parses the ANSI text styles in a program's output, and writes them in one fixed form. Pure.

Only colours, bold, dim, italic and underline are passed on to pages and terminals. Each line is
independent of the others: it sets every style it needs, and it ends with a reset.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from jobs.rules.text import STYLE, TRICKS, is_printable, unpiled

BRIGHT = 8
LONGEST_CODE = 3
# The 256 colours: the sixteen, a cube of 6 x 6 x 6, and a ramp of greys.
CUBE_START, GREY_START = 16, 232
MIDDLE, VIVID, DARK_GREY = 110, 200, 70
RESET = "\x1b[0m"


class Style(NamedTuple):
    """The style of a piece of text.

    Attributes:
        colour: foreground, 0 to 15, bright from 8 on; None is the terminal's or page's default.
        ground: background, with the same values.
        weights: 1 bold, 2 dim, 3 italic, 4 underlined.
    """

    colour: int | None = None
    ground: int | None = None
    weights: frozenset[int] = frozenset()

    @property
    def seen(self) -> "Style":
        """The style, without its colours if foreground and background would hide the text."""
        if self.colour is None or self.ground is None:
            return self
        is_hidden = self.colour % BRIGHT == self.ground % BRIGHT
        return self._replace(colour=None, ground=None) if is_hidden else self


Piece = tuple[str, Style]  # a text in one style
PLAIN = Style()
UNWEIGHTS = {22: {1, 2}, 23: {3}, 24: {4}}


def spans(line: str) -> Iterator[Piece]:
    """Split a line into pieces of one style each, without `TRICKS`; no piece is empty."""
    if is_printable(line):
        if line:
            yield line, PLAIN
        return
    style, text, begun = PLAIN, "", 0
    for trick in TRICKS.finditer(line):
        text += line[begun : trick.start()]
        begun = trick.end()
        if found := STYLE.fullmatch(trick[0]):
            wanted = _restyled(style, found[1])
            if wanted != style and text:
                yield unpiled(text), style.seen
                text = ""
            style = wanted
    if text := text + line[begun:]:
        yield unpiled(text), style.seen


def clean(line: str) -> str:
    """Remove `TRICKS` from a line, and rewrite its styles in the form that `styled` writes."""
    if is_printable(line):
        return line
    return styled(spans(line)) if TRICKS.search(line) else unpiled(line)


def styled(pieces: Iterable[Piece]) -> str:
    """Write pieces with escape sequences: each sets the whole style, the last one resets it."""
    written, before = [], PLAIN
    for text, style in pieces:
        if style != before:
            written.append(_sequence(style))
        written.append(text)
        before = style
    return "".join([*written, RESET] if before != PLAIN else written)


def cut(line: str, width: int) -> list[str]:
    """Split a line into rows of at most `width` visible characters; each row sets its own style."""
    if len(line) <= width:
        return [line]
    rows: list[list[Piece]] = [[]]
    room = width
    for text, style in spans(line):
        if room:
            rows[-1].append((text[:room], style))
        rows += [[(text[at : at + width], style)] for at in range(room, len(text), width)]
        over = len(text) - room
        room = -over if over <= 0 else -over % width
    return [styled(row) for row in rows]


@lru_cache(maxsize=1024)
def _sequence(style: Style) -> str:
    codes = [0, *sorted(style.weights)]
    for colour, base in ((style.colour, 30), (style.ground, 40)):
        if colour is not None:
            codes.append(base + colour if colour < BRIGHT else base + 60 + colour - BRIGHT)
    return f"\x1b[{';'.join(map(str, codes))}m"


@lru_cache(maxsize=4096)
def _restyled(style: Style, codes: str) -> Style:
    numbers = deque(int(code) if 0 < len(code) <= LONGEST_CODE else 0 for code in codes.split(";"))
    while numbers:
        match numbers.popleft():
            case 38:
                style = style._replace(colour=_extended(numbers))
            case 48:
                style = style._replace(ground=_extended(numbers))
            case 58:  # the colour of the underline
                _extended(numbers)
            case code:
                style = _coded(style, code)
    return style


def _coded(style: Style, code: int) -> Style:
    match code:
        case 0:
            return PLAIN
        case 1 | 2 | 3 | 4:
            return style._replace(weights=style.weights | {code})
        case 22 | 23 | 24:
            return style._replace(weights=style.weights - UNWEIGHTS[code])
        case 39:
            return style._replace(colour=None)
        case 49:
            return style._replace(ground=None)
    return _coloured(style, code)


def _coloured(style: Style, code: int) -> Style:
    place, colour = divmod(code, 10)
    if colour >= BRIGHT:
        return style
    match place:
        case 3:
            return style._replace(colour=colour)
        case 4:
            return style._replace(ground=colour)
        case 9:
            return style._replace(colour=colour + BRIGHT)
        case 10:
            return style._replace(ground=colour + BRIGHT)
    return style


def _extended(numbers: deque[int]) -> int | None:
    """Consume the rest of a 256-colour or RGB code, and give the nearest of the 16 colours."""
    mode = numbers.popleft() if numbers else 0
    wanted = [numbers.popleft() for _ in range(min({5: 1, 2: 3}.get(mode, 0), len(numbers)))]
    match wanted:
        case [index] if mode == 5:  # noqa: PLR2004
            return _from_palette(min(index, 255))
        case [red, green, blue]:
            return _nearest(red, green, blue)
    return None


def _from_palette(index: int) -> int:
    if index < CUBE_START:
        return index
    if index >= GREY_START:
        grey = 8 + 10 * (index - GREY_START)
        return _nearest(grey, grey, grey)
    cube = index - CUBE_START
    return _nearest(cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)


def _nearest(red: int, green: int, blue: int) -> int:
    bits = sum(bit for bit, part in ((1, red), (2, green), (4, blue)) if part >= MIDDLE)
    bright = max(red, green, blue) >= VIVID or (bits == 0 and red >= DARK_GREY)
    return bits + (BRIGHT if bright else 0)
