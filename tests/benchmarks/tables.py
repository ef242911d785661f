"""Prints figures as small tables."""

import math
import sys
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the value that this percentage of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """Give the median."""
    return percentile(values, 50)


def ms(seconds: float) -> str:
    """Format a time in milliseconds."""
    return f"{seconds * 1000:.1f}"


def say(line: str = "") -> None:
    """Print a line without buffering, so that one can watch a long run."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    say(f"\n{title}")
    for row in [head, *rows]:
        first, *others = (cell for cell in row)
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        say("  ".join([f"  {first.ljust(widths[0])}", *cells]))
