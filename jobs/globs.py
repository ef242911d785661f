"""Patterns for paths and tags: `*` and `?` stay inside one folder, `**` crosses them. Pure."""

import re
from collections.abc import Iterable, Iterator

_PARTS = re.compile(r"\*\*/|\*\*|.", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern fits the whole text; one that ends in a slash fits all below it.

    Every way to fit is followed at once, so no pattern takes longer than its length times the
    text's.
    """
    places = {0}  # how much of the text may have been taken by the pattern so far
    for part in _PARTS.findall(f"{pattern}**" if pattern.endswith("/") else pattern):
        places = _after(part, text, places)
        if not places:
            return False
    return len(text) in places


def any_matches(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether any of the patterns fits any of the texts."""
    listed = list(patterns)
    return any(matches(pattern, text) for text in texts for pattern in listed)


def _after(part: str, text: str, places: set[int]) -> set[int]:
    """Give the places the text may be at when the part has taken its share from any of these."""
    match part:
        case "**":
            return set(range(min(places), len(text) + 1))
        case "**/":
            first = min(places)
            return places | {at for at, sign in enumerate(text, 1) if sign == "/" and at > first}
        case "*":
            return set(_inside_folders(text, places))
        case "?":
            return {at + 1 for at in places if text[at : at + 1] not in {"", "/"}}
        case _:
            return {at + 1 for at in places if text.startswith(part, at)}


def _inside_folders(text: str, places: set[int]) -> Iterator[int]:
    """Give each place and those after it, up to the next slash."""
    is_reached = False
    for at, sign in enumerate(f"{text}/"):
        is_reached = is_reached or at in places
        if is_reached:
            yield at
        is_reached = is_reached and sign != "/"
