"""Draws SVG on the server: icons, favicons, and the bar chart of an app's history. Pure.

It uses SVG presentation attributes and never `style`, which the pages' policy forbids. Colours come
from classes of the style sheet; only favicons, to which it does not apply, have their own.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from markupsafe import Markup

ICONS = {
    "check": Markup(
        '<circle cx="8" cy="8" r="7" class="fill"/><path class="cut" d="M5 8.2l2.1 2.1L11 6"/>'
    ),
    "cross": Markup(
        '<circle cx="8" cy="8" r="7" class="fill"/>'
        '<path class="cut" d="M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8"/>'
    ),
    "alert": Markup(
        '<path class="fill" d="M8 1.3 15.2 14H.8z"/><path class="cut" d="M8 5.8v3.6M8 11.6v.1"/>'
    ),
    "spin": Markup(
        '<circle cx="8" cy="8" r="6" class="track"/><path class="spin" d="M8 2a6 6 0 1 1-6 6"/>'
    ),
    "clock": Markup('<circle cx="8" cy="8" r="6"/><path d="M8 4.8V8l2.2 1.4"/>'),
    "slash": Markup('<circle cx="8" cy="8" r="6"/><path d="M4 12l8-8"/>'),
    "skip": Markup('<circle cx="8" cy="8" r="6"/><path d="M6 5.6 8.4 8 6 10.4M10.2 5.6v4.8"/>'),
    "stop": Markup(
        '<rect x="2" y="2" width="12" height="12" rx="3" class="fill"/>'
        '<path class="cut" d="M6.5 5.6v4.8M9.5 5.6v4.8"/>'
    ),
    "ring": Markup('<circle cx="8" cy="8" r="6" stroke-dasharray="2.2 2.5"/>'),
    "pause": Markup('<circle cx="8" cy="8" r="6"/><path d="M6.4 5.8v4.4M9.6 5.8v4.4"/>'),
    "back": Markup('<path d="M3 3.5v3.6h3.6M3.4 7A5.2 5.2 0 1 1 3 9.6"/>'),
    "copy": Markup('<circle cx="8" cy="8" r="6"/><path d="M5.6 6.6h4.8M5.6 9.4h4.8"/>'),
    "out": Markup('<path d="M6 3.5H3.5v9h9V10M9 3.5h3.5V7M12.2 3.8 7.5 8.5"/>'),
    "branch": Markup(
        '<circle cx="4.5" cy="3.5" r="1.7"/><circle cx="4.5" cy="12.5" r="1.7"/>'
        '<circle cx="11.5" cy="5" r="1.7"/><path d="M4.5 5.2v5.6M11.5 6.7c0 2.4-7 1.6-7 4"/>'
    ),
    "mark": Markup('<path class="fill" d="M2.5 2h11L11 14H5z"/>'),
}
FAVICONS = {
    "good": ("#1f9d57", '<path d="M11 16.5l3.6 3.6L21.5 13"/>'),
    "bad": ("#d63b32", '<path d="M12 12l8 8M20 12l-8 8"/>'),
    "warn": ("#b86e00", '<path d="M16 10.5v7M16 21.5v.1"/>'),
    "busy": ("#2f6fde", '<path d="M16 10v6l4 2.6"/>'),
    "idle": ("#6b7079", '<path d="M11.5 16h9"/>'),
    # Keystone's own mark: the keystone of an arch.
    "home": ("#4b4fd6", '<path d="M10 10.5h12l-2.6 11h-6.8z" fill="#fff"/>'),
}
SLOT, BAR = 12, 8  # one bar with its gap, and the bar itself, in pixels
SHORTEST_BAR = 6  # pixels; the least at which the shapes of bars can be told apart


@dataclass(frozen=True)
class Bar:
    """One deployment of a history.

    `seconds` sets its height, `tone` its colour, and `shape`, the icon of its state, its outline:
    every state has another outline, so that colour alone never carries the meaning.
    """

    tone: str
    shape: str
    seconds: float | None
    title: str = ""
    href: str = ""


@dataclass(frozen=True)
class Shape:
    """The drawing of a bar: its position, its class and its path."""

    x: int
    look: str
    path: str


def icon(shape: str, tone: str = "") -> Markup:
    """Draw an icon; it is hidden from screen readers, which read the word beside it."""
    return Markup(
        '<svg class="icon {}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{}'
        "</svg>"
    ).format(tone, ICONS[shape])


def favicon(tone: str) -> str:
    """Draw the favicon: Keystone's own, or that of a state."""
    ground, mark = FAVICONS[tone]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="9" fill="{ground}"/>'
        f'<g fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" '
        f'stroke-linejoin="round">{mark}</g></svg>'
    )


def history(bars: Sequence[Bar], *, slots: int, height: int, summary: str) -> Markup:
    """Draw the last deployments as bars, the newest at the right.

    Args:
        bars: at most `slots` of them, the oldest first.
        height: in pixels.
        summary: the chart in words, for screen readers.
    """
    longest = max((bar.seconds or 0 for bar in bars), default=0) or 1
    empty = slots - len(bars)
    shapes = [
        (bar, _shape(bar, (empty + place) * SLOT, height, (bar.seconds or 0) / longest))
        for place, bar in enumerate(bars)
    ]
    linked = [_link(bar, shape, height) for bar, shape in shapes if bar.href]
    plain = _by_tone(shape for bar, shape in shapes if not bar.href)
    dots = "".join(f"M{place * SLOT + 2} {height - 1}h4" for place in range(empty))
    return Markup(
        '<svg class="bars" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="{6}" '
        'aria-label="{2}">{3}{4}{5}</svg>'
    ).format(
        slots * SLOT - (SLOT - BAR),
        height,
        summary,
        _path("none", dots) if empty else "",
        Markup().join(plain),
        Markup().join(linked),
        "group" if linked else "img",  # the role "img" must not contain links
    )


def _by_tone(shapes: Iterable[Shape]) -> list[Markup]:
    """Draw all shapes of a tone as one path, which makes a page of charts a third as long."""
    found: dict[str, list[str]] = defaultdict(list)
    for shape in shapes:
        found[shape.look].append(shape.path)
    return [_path(look, "".join(paths)) for look, paths in found.items()]


def _path(look: str, path: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(look, path)


def _link(bar: Bar, shape: Shape, height: int) -> Markup:
    # The table below has the same links, so these stay out of the Tab order: they would be twenty
    # more stops. The rectangle makes the whole column clickable.
    return Markup(
        '<a href="{}" tabindex="-1"><title>{}</title>'
        '<rect class="hit" x="{}" y="0" width="{}" height="{}"/>{}</a>'
    ).format(bar.href, bar.title, shape.x - 2, SLOT, height, _path(shape.look, shape.path))


def _shape(bar: Bar, x: int, height: int, share: float) -> Shape:
    # The square root keeps a short deployment visible beside a long one.
    tall = max(SHORTEST_BAR, round(sqrt(share) * (height - BAR)))
    look = f"{bar.tone} open" if bar.shape in OUTLINES else bar.tone
    return Shape(x, look, BODIES[bar.shape](x, height, tall))


# --- One outline per state. Arguments: left edge, baseline and height, in pixels --------------


def _whole(x: int, ground: int, tall: int) -> str:
    return f"M{x} {ground}v-{tall - 2}q0-2 2-2h4q2 0 2 2v{tall - 2}z"


def _dotted(x: int, ground: int, tall: int) -> str:
    return f"{_whole(x, ground, tall)}M{x + 2} {ground - tall - 5}a2 2 0 1 0 4 0a2 2 0 1 0-4 0z"


def _pointed(x: int, ground: int, tall: int) -> str:
    return f"{_whole(x, ground, tall)}M{x + 4} {ground - tall - 7}l4 5h-8z"


def _ring(x: int, ground: int, _tall: int) -> str:
    return f"M{x + 1} {ground - 4}a3 3 0 1 0 6 0a3 3 0 1 0-6 0z"


def _lidless(x: int, ground: int, tall: int) -> str:
    return f"M{x + 1} {ground - tall}v{tall - 1}h6v-{tall - 1}"


def _cut(x: int, ground: int, tall: int) -> str:
    low = tall // 2 - 1
    return f"M{x} {ground}h8v-{low}h-8zM{x} {ground - low - 2}h8v-{tall - low - 2}h-8z"


def _slanted(x: int, ground: int, tall: int) -> str:
    return f"M{x} {ground}v-{tall}l8 {tall // 2}v{tall - tall // 2}z"


BODIES = {
    "check": _whole,
    "cross": _dotted,  # an exclamation mark
    "alert": _pointed,
    "clock": _ring,  # queued: no work was done yet
    "spin": _lidless,  # running: the bar still grows
    "slash": _cut,
    "skip": _slanted,
}
OUTLINES = frozenset({"clock", "spin"})
