"""Terminal colours as HTML. Pure.

Only colours and weights survive, as spans with classes from the style sheet: a log is hostile text,
so everything else is escaped, and every other escape sequence is dropped. `static/log.js` does the
same for lines that arrive later; a test holds the two together.
"""

import re
from collections import deque
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from jobs.logs import clean

SGR = re.compile(r"\x1b\[([0-9;]{0,64})m")
BRIGHT = 8
LONGEST_CODE = 3
# The 256 colours: the sixteen, a cube of 6 x 6 x 6, and a ramp of greys.
CUBE_START, GREY_START = 16, 232
MIDDLE, VIVID, DARK_GREY = 110, 200, 70


@dataclass(frozen=True)
class Style:
    """How text is to look; colours are 0 to 15."""

    colour: int | None = None
    ground: int | None = None
    weights: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        """The classes that make text look so; a bright colour looks like the plain one."""
        words = sorted(self.weights)
        if self.colour is not None:
            words.append(f"c{self.colour % BRIGHT}")
        if self.ground is not None:
            words.append(f"g{self.ground % BRIGHT}")
        return " ".join(words)


WEIGHTS = {1: "bold", 2: "dim", 3: "ital", 4: "line"}
UNWEIGHTS = {22: {"bold", "dim"}, 23: {"ital"}, 24: {"line"}}


def to_html(line: str) -> Markup:
    """Give a line of a log as HTML that is safe to show."""
    style, html = Style(), Markup()
    parts = SGR.split(clean(line))
    # Text and the codes that follow it take turns.
    for text, codes in zip(parts[::2], [*parts[1::2], ""], strict=True):
        html += _span(text.replace("\x1b", ""), style.classes)
        style = _restyled(style, codes)
    return html


def _span(text: str, classes: str) -> Markup:
    if not text:
        return Markup()
    return Markup('<span class="{}">{}</span>').format(classes, text) if classes else escape(text)


def _restyled(style: Style, codes: str) -> Style:
    numbers = deque(int(code) if 0 < len(code) <= LONGEST_CODE else 0 for code in codes.split(";"))
    while numbers:
        match numbers.popleft():
            case 38:
                style = replace(style, colour=_extended(numbers))
            case 48:
                style = replace(style, ground=_extended(numbers))
            case code:
                style = _coded(style, code)
    return style


def _coded(style: Style, code: int) -> Style:
    match code:
        case 0:
            return Style()
        case 1 | 2 | 3 | 4:
            return replace(style, weights=style.weights | {WEIGHTS[code]})
        case 22 | 23 | 24:
            return replace(style, weights=style.weights - UNWEIGHTS[code])
        case 39:
            return replace(style, colour=None)
        case 49:
            return replace(style, ground=None)
    return _coloured(style, code)


def _coloured(style: Style, code: int) -> Style:
    place, colour = divmod(code, 10)
    if colour >= BRIGHT:
        return style
    match place:
        case 3:
            return replace(style, colour=colour)
        case 4:
            return replace(style, ground=colour)
        case 9:
            return replace(style, colour=colour + BRIGHT)
        case 10:
            return replace(style, ground=colour + BRIGHT)
    return style


def _extended(numbers: deque[int]) -> int | None:
    """Take the rest of a 256-colour or RGB code, and give the nearest of the sixteen colours."""
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
