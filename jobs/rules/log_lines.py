"""Lines of a deployment's log: secrets masked, unseen characters removed, bounded. Pure."""

from jobs.rules.ansi import clean, cut
from jobs.rules.redaction import Redactor
from jobs.rules.text import LINE_END

LONGEST_LINE = 4000
MOST_PIECES = 8  # of one line: a tool that writes a megabyte on a line wrote no log
LEFT_OUT = "… the rest of this line is left out"
GOES_ON = "… "  # before each piece but the first of a line that is too long


def masked(line: str, redact: Redactor) -> str:
    """Give a line without secrets, and without what a reader cannot see; its styles stay."""
    return clean(redact(line))


def shown(line: str, redact: Redactor) -> str:
    """Give a line as it may be shown; it is cut last, so that no cut leaves half a secret."""
    return cut(masked(line, redact), LONGEST_LINE)[0]


def lines_of(text: str) -> list[str]:
    """Split a text at its line ends: CR LF, LF or CR."""
    # Not what else Python takes for a line end, as a form feed: what a build says stands behind a
    # mark at the beginning of its line, and must not come to begin another one.
    *lines, rest = LINE_END.split(text)
    return [*lines, rest] if rest or not lines else lines


def pieces_of(line: str) -> list[str]:
    """Split a line that is too long; only the first `MOST_PIECES` pieces are kept."""
    if len(line) <= LONGEST_LINE:
        return [line]
    first, *others = cut(line, LONGEST_LINE)
    kept = [first, *(f"{GOES_ON}{piece}" for piece in others)]
    return [*kept[:MOST_PIECES], LEFT_OUT] if len(kept) > MOST_PIECES else kept
