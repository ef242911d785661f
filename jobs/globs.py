"""Patterns for paths and tags: `*` and `?` stay inside one folder, `**` crosses them. Pure."""

import re
from collections.abc import Iterable

_PARTS = re.compile(r"\*\*/|\*\*|.", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern fits the whole text; one that ends in a slash fits all below it.

    Every way to fit is followed at once, so no pattern takes longer than its length times the
    text's.
    """
    places = {0}  # how much of the text may have been taken by the pattern so far
    for part in _PARTS.findall(f"{pattern}**" if pattern.endswith("/") else pattern):
        places = {end for start in _spread(part, places) for end in _after(part, text, start)}
        if not places:
            return False
    return len(text) in places


def any_matches(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether any of the patterns fits any of the texts."""
    listed = list(patterns)
    return any(matches(pattern, text) for text in texts for pattern in listed)


def _spread(part: str, places: set[int]) -> set[int]:
    # From the first place on, `**` reaches all that it reaches from the later ones.
    return {min(places)} if part == "**" else places


def _after(part: str, text: str, start: int) -> Iterable[int]:
    """Give the places the text may be at when the part has taken its share from `start` on."""
    match part:
        case "**":
            return range(start, len(text) + 1)
        case "**/":
            ends = (at + 1 for at in range(start, len(text)) if text[at] == "/")
            return (start, *ends)
        case "*":
            stop = text.find("/", start)
            return range(start, (len(text) if stop < 0 else stop) + 1)
        case "?":
            return (start + 1,) if text[start : start + 1] not in {"", "/"} else ()
        case _:
            return (start + 1,) if text.startswith(part, start) else ()
