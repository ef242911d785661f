r"""Glob patterns for paths and tags: for watch paths, tag patterns and .dockerignore. Pure.

`*` and `?` stay inside one folder, `**` crosses folders, `[a-c]` is one of these characters,
`[^a-c]` is any other one, and `\` makes the next character literal. Neither `?` nor a class matches
a slash.

A pattern is matched against all texts at once, without backtracking. The texts are joined into one
row, and a big integer holds one bit for each place in that row. The set bits are the places that
the pattern may have reached. Each part of the pattern moves them by a few operations on the whole
integer. So matching takes at most as many steps as the pattern has parts.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

# The cost model. Each character of a pattern has a fixed cost equal to that of BASE_COST characters
# of texts. Finding the places of a character in the texts costs as much as COST_TO_FIND characters
# of patterns; finding those of a class costs COST_OF_CLASS for each character of the class. Both
# are paid once.
BASE_COST = 1500
COST_TO_FIND = 10
COST_OF_CLASS = 50
LARGEST_BYTE = 2  # index of the highest byte of a character's code, which has three bytes
_MEMBER = r"(?:\\.|[^\\\]-])"
CLASS = rf"\[\^?+(?:{_MEMBER}(?:-{_MEMBER})?)++\]"
_PART = re.compile(rf"\*\*/|\*\*|\\.|{CLASS}|.", re.DOTALL)
_RANGE = re.compile(rf"({_MEMBER})(?:-({_MEMBER}))?", re.DOTALL)


@dataclass(frozen=True)
class Repeated:
    """A part that matches one character, when a text may have it several times or not at all.

    Patterns of files like .dockerignore have none.
    """

    part: str
    is_needed: bool  # True: once or more; False: at most once


Part = str | Repeated


def parts_of(pattern: str) -> Iterator[str]:
    """Split a pattern into its parts.

    An unclosed bracket and a backslash at the end are literal, as parts of one character each.
    """
    return (found[0] for found in _PART.finditer(pattern))


class Texts:
    """Texts to match patterns against.

    Attributes:
        size: the number of characters of all texts together, plus one for each text.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._listed = list(texts)
        # Place n is before character n of the row. Each text also has a place after its last
        # character; the character of the row at that place is a separator.
        row = "\n".join([*self._listed, ""])
        self.size = len(row)
        self._ends = _bits_after(map(len, self._listed))
        self._all = (1 << self.size) - 1
        self._starts = (self._ends << 1 | 1) & self._all
        self._characters = self._all ^ self._ends
        # Reversed, because the last place is the highest digit of the integer. The upper bytes of
        # most texts are all zero, and then stored as empty.
        codes = row[::-1].encode("utf-32-le", "surrogatepass")
        each = (codes[byte::4] for byte in range(LARGEST_BYTE + 1))
        self._bytes = [held if held.strip(b"\0") else b"" for held in each]
        self._found: dict[str, int] = {}
        self._priced: set[str] = set()
        self._inside_folders = self._characters & ~self._places_of("/")

    @property
    def ends(self) -> int:
        """The ends of all texts, a bit for each."""
        return self._ends

    def cost(self, parts: Iterable[Part]) -> int:
        """Give the cost of matching the parts of a pattern next, in units of about 0.1 ns."""
        told = [part.part if isinstance(part, Repeated) else part for part in parts]
        to_find = set(told) - self._priced
        self._priced |= to_find
        finding = sum(COST_OF_CLASS * len(p) if is_class(p) else COST_TO_FIND for p in to_find)
        return (sum(map(len, told)) + finding) * (self.size + BASE_COST)

    def fitted_by(self, parts: Iterable[Part], *, with_content: bool = False) -> int:
        """Give the ends of the texts that the parts of a pattern match as a whole, a bit for each.

        Args:
            parts: the result of `parts_of`, or such parts `Repeated`.
            with_content: whether a pattern that matches a folder also matches every path below it.
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
        """Give the texts with these ends."""
        if not ends:
            return []
        digits = f"{ends:0{self.size}b}"
        places = accumulate((len(text) + 1 for text in self._listed), initial=0)
        next(places)
        return [text for text, end in zip(self._listed, places, strict=True) if digits[-end] == "1"]

    def _after(self, part: Part, reached: int) -> int:
        """Give the places that the part reaches from any of these places."""
        match part:
            case Repeated():
                return self._after_repeated(part, reached)
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

    def _after_repeated(self, repeated: Repeated, reached: int) -> int:
        places = self._places_of(repeated.part)
        once = (reached & places) << 1
        return _flooded(once, places) if repeated.is_needed else reached | once

    def _places_of(self, part: str) -> int:
        """Give the places before this character, or before any of this class; cached."""
        found = self._found.get(part)
        if found is None:
            found = (
                self._places_of_class(part)
                if is_class(part)
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
        """Give the places before a character in a range, comparing codes from `byte` downwards."""
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


def is_class(part: str) -> bool:
    """Whether a part is a class of characters, like `[a-c]`."""
    return len(part) > 1 and part.startswith("[")


def _bits_after(gaps: Iterable[int]) -> int:
    """Give an integer with one set bit after each gap; a gap is a number of unset bits."""
    digits = "".join(["0" * gap + "1" for gap in gaps])
    return int(digits[::-1] or "0", 2)


def _flooded(reached: int, passable: int) -> int:
    """Give all places that can be reached from these by passing over `passable` characters.

    The addition carries a bit from its place to the end of the run of set bits around it.
    """
    return ((reached & passable) + passable) ^ passable | reached
