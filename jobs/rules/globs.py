"""Patterns for paths and tags: `*` and `?` stay inside one folder, `**` crosses folders. Pure.

A pattern is matched against all texts at once. The texts stand in one row, and a big integer holds
one bit for each place in that row: the bits that are set are the places that the pattern may have
reached. Each part of the pattern moves them by a few operations on the whole integer. So no pattern
takes more steps than it has parts, and nothing is ever tried twice.
"""

import re
from collections.abc import Iterable

_PARTS = re.compile(r"\*\*/|\*\*|.", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern fits the whole text; one that ends in a slash fits all below it."""
    return Texts([text]).any_matches(pattern)


class Texts:
    """Texts that patterns are matched against.

    Attributes:
        size: how many characters they have together, one more for each text. To match a pattern
            costs its own length times this, at some 0.1 ns.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        listed = list(texts)
        # A place is before the character of its number. Each text has a place after its last one,
        # and whatever stands there in the row is no character of a text.
        self._row = "".join(f"{text}\n" for text in listed)
        self.size = len(self._row)
        self._ends = _bits_after(map(len, listed))
        self._starts = (self._ends << 1 | 1) & ((1 << self.size) - 1)
        self._characters = ((1 << self.size) - 1) ^ self._ends
        self._found: dict[str, int] = {}
        self._inside_folders = self._characters & ~self._places_of("/")

    def any_matches(self, pattern: str) -> bool:
        """Whether the pattern fits any of the texts as a whole."""
        reached = self._starts
        for part in _PARTS.findall(f"{pattern}**" if pattern.endswith("/") else pattern):
            reached = self._after(part, reached)
            if not reached:
                return False
        return reached & self._ends != 0

    def _after(self, part: str, reached: int) -> int:
        """Give the places that are reached when the part has taken its share from any of these."""
        match part:
            case "**":
                return _flooded(reached, self._characters)
            case "**/":
                below = _flooded(reached, self._characters) & self._places_of("/") << 1
                return reached | below
            case "*":
                return _flooded(reached, self._inside_folders)
            case "?":
                return (reached & self._inside_folders) << 1
            case _:
                return (reached & self._places_of(part)) << 1

    def _places_of(self, character: str) -> int:
        """Give the places before this character; found once."""
        found = self._found.get(character)
        if found is None:
            gaps = self._row.split(character)[:-1]
            found = self._found[character] = _bits_after(map(len, gaps)) & self._characters
        return found


def _bits_after(gaps: Iterable[int]) -> int:
    """Give an integer with a bit after each gap of so many bits that are not set."""
    digits = "".join("0" * gap + "1" for gap in gaps)
    return int(digits[::-1] or "0", 2)


def _flooded(reached: int, passable: int) -> int:
    """Give the places reached by going on from each, over characters that may be passed.

    An addition carries from a place to the end of the row of set bits that it is in.
    """
    return ((reached & passable) + passable) ^ passable | reached
