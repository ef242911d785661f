"""Prepares lines of a deployment's log: masks secrets, removes unseen characters, cuts. Pure."""

from collections import deque
from collections.abc import Iterator

from jobs.rules.ansi import clean, cut
from jobs.rules.redaction import Redactor
from jobs.rules.text import LINE_END

LONGEST_LINE = 4000
MOST_PIECES = 8  # pieces kept of one line: a line of a megabyte is data, not a log message
LEFT_OUT = "… the rest of this line is left out"
GOES_ON = "… "  # prefix of each piece of a long line except the first


def masked(line: str, redact: Redactor) -> str:
    """Mask the secrets of a line and remove characters that a reader cannot see; keep styles."""
    return clean(redact(line))


def shown(line: str, redact: Redactor) -> str:
    """Mask, clean and cut a line for display; cut last, so that no part of a secret is left."""
    return cut(masked(line, redact), LONGEST_LINE)[0]


def lines_of(text: str) -> list[str]:
    """Split a text at its line ends: CR LF, LF or CR."""
    # Not at the other line ends of `str.splitlines`, like a form feed: a build's output follows a
    # mark at the beginning of its line, and must not be able to start a line itself.
    *lines, rest = LINE_END.split(text)
    return [*lines, rest] if rest or not lines else lines


def pieces_of(line: str) -> list[str]:
    """Split a line that is too long; keep only the first `MOST_PIECES` pieces."""
    if len(line) <= LONGEST_LINE:
        return [line]
    first, *others = cut(line, LONGEST_LINE)
    kept = [first, *(f"{GOES_ON}{piece}" for piece in others)]
    return [*kept[:MOST_PIECES], LEFT_OUT] if len(kept) > MOST_PIECES else kept


class LastLines:
    """Holds the last lines of an output to search them; of a long line, only both ends."""

    def __init__(self, most: int) -> None:
        self._lines: deque[str] = deque(maxlen=most)

    def add(self, line: str) -> None:
        """Add the next line."""
        half = LONGEST_LINE // 2
        self._lines.append(line if len(line) <= LONGEST_LINE else f"{line[:half]}\n{line[-half:]}")

    def __iter__(self) -> Iterator[str]:
        """Give the lines, oldest first."""
        return iter(self._lines)
