r"""Glob patterns for paths and tags, of watch paths, tag patterns and .dockerignore alike. Pure.

`*` and `?` stay inside one folder, `**` crosses folders, `[a-c]` is one of these characters and
`[^a-c]` any other one, `\` takes the meaning from the character that follows. No `?` and no class
stands for a slash.

A pattern is matched against all texts at once. The texts stand in one row, and a big integer holds
one bit for each place in that row: the bits that are set are the places that the pattern may have
reached. Each part of the pattern moves them by a few operations on the whole integer. So no pattern
takes more steps than it has parts, and nothing is ever tried twice.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate

# Each character of a pattern costs as much as BASE_COST characters of texts besides. To find where
# the texts have a character costs as much as COST_TO_FIND characters of patterns, and to find where
# they have one of a class as much as COST_OF_CLASS for each character of the class; both once.
BASE_COST = 1500
COST_TO_FIND = 10
COST_OF_CLASS = 50
LARGEST_BYTE = 2  # of a character's code: it has three
_MEMBER = r"(?:\\.|[^\\\]-])"
_CLASS = rf"\[\^?+(?:{_MEMBER}(?:-{_MEMBER})?)++\]"
_PART = re.compile(rf"\*\*/|\*\*|\\.|{_CLASS}|.", re.DOTALL)
_RANGE = re.compile(rf"({_MEMBER})(?:-({_MEMBER}))?", re.DOTALL)


def parts_of(pattern: str) -> Iterator[str]:
    """Split a pattern into its parts, one by one.

    A bracket that is not closed properly and a backslash that nothing follows are parts of one
    character, and stand for themselves.
    """
    return (found[0] for found in _PART.finditer(pattern))


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern fits the whole text; one that ends in a slash fits all below it."""
    return Texts([text]).any_matches(pattern)


class Texts:
    """Texts that patterns are matched against.

    Attributes:
        size: how many characters they have together, one more for each text.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._listed = list(texts)
        # A place is before the character of its number. Each text has a place after its last one,
        # and whatever stands there in the row is no character of a text.
        row = "\n".join([*self._listed, ""])
        self.size = len(row)
        self._ends = _bits_after(map(len, self._listed))
        self._all = (1 << self.size) - 1
        self._starts = (self._ends << 1 | 1) & self._all
        self._characters = self._all ^ self._ends
        # The last place comes first, as in a number. Most texts leave the upper bytes empty.
        codes = row[::-1].encode("utf-32-le", "surrogatepass")
        each = (codes[byte::4] for byte in range(LARGEST_BYTE + 1))
        self._bytes = [held if held.strip(b"\0") else b"" for held in each]
        self._found: dict[str, int] = {}
        self._priced: set[str] = set()
        self._inside_folders = self._characters & ~self._places_of("/")

    def cost(self, pattern: str) -> int:
        """Give what it costs to match a pattern, at some 0.1 ns each; it is to be matched next."""
        to_find = set(parts_of(pattern) if "[" in pattern else pattern) - self._priced
        self._priced |= to_find
        finding = sum(COST_OF_CLASS * len(p) if _is_class(p) else COST_TO_FIND for p in to_find)
        return (len(pattern) + finding) * (self.size + BASE_COST)

    def any_matches(self, pattern: str) -> bool:
        """Whether the pattern fits any of the texts as a whole."""
        whole = f"{pattern}**" if pattern.endswith("/") else pattern
        return self.fitted_by(parts_of(whole)) != 0

    def fitted_by(self, parts: Iterable[str], *, with_content: bool = False) -> int:
        """Give the ends of the texts that these parts of a pattern fit as a whole: a bit for each.

        Args:
            parts: as `parts_of` gives them.
            with_content: whether what fits a folder's path fits every path below it as well.
        """
        reached = self._starts
        for part in parts:
            reached = self._after(part, reached)
            if not reached:
                return 0
        if with_content:
            reached = _flooded(reached & (self._places_of("/") | self._ends), self._characters)
        return reached & self._ends

    def ending_at(self, ends: int) -> list[str]:
        """Give the texts whose ends these are."""
        if not ends:
            return []
        digits = f"{ends:0{self.size}b}"
        places = accumulate((len(text) + 1 for text in self._listed), initial=0)
        next(places)
        return [text for text, end in zip(self._listed, places, strict=True) if digits[-end] == "1"]

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

    def _places_of(self, part: str) -> int:
        """Give the places before this character, or one of this class; found once."""
        found = self._found.get(part)
        if found is None:
            found = (
                self._places_of_class(part)
                if _is_class(part)
                else self._codes_between(ord(part[-1]), ord(part[-1]))
            )
            found = self._found[part] = found & self._characters
        return found

    def _places_of_class(self, part: str) -> int:
        is_negated, found = part.startswith("[^"), 0
        for low, high in _RANGE.findall(part[1:-1], is_negated):
            found |= self._codes_between(ord(low[-1]), ord((high or low)[-1]))
        return self._inside_folders & (~found if is_negated else found)

    def _codes_between(self, low: int, high: int, byte: int = LARGEST_BYTE) -> int:
        """Give the places before a character from one to the other, up to this byte of its code."""
        above = (1 << 8 * byte) - 1
        first, last = low >> 8 * byte, high >> 8 * byte
        if low > high:
            return 0
        if byte == 0:
            return self._bytes_between(byte, first, last)
        if first == last:
            rest = self._codes_between(low & above, high & above, byte - 1)
            return rest and rest & self._bytes_between(byte, first, last)
        return (
            self._codes_between(low, low | above, byte)
            | (self._bytes_between(byte, first + 1, last - 1) if first + 1 < last else 0)
            | self._codes_between(high & ~above, high, byte)
        )

    def _bytes_between(self, byte: int, first: int, last: int) -> int:
        if not self._bytes[byte]:
            return self._all if first == 0 else 0
        digits = b"0" * first + b"1" * (last + 1 - first) + b"0" * (255 - last)
        return int(self._bytes[byte].translate(digits), 2)


def _is_class(part: str) -> bool:
    return len(part) > 1 and part.startswith("[")


def _bits_after(gaps: Iterable[int]) -> int:
    """Give an integer with a bit after each gap of so many bits that are not set."""
    digits = "".join(["0" * gap + "1" for gap in gaps])
    return int(digits[::-1] or "0", 2)


def _flooded(reached: int, passable: int) -> int:
    """Give the places reached by going on from each, over characters that may be passed.

    An addition carries from a place to the end of the row of set bits that it is in.
    """
    return ((reached & passable) + passable) ^ passable | reached
