"""Limits the work of selecting a build's files, and stops it when no caller waits any more.

A repository contains both the files and the patterns to match them against, so the work that it can
cause grows with the product of the two.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from jobs.errors import BuildError

Item = TypeVar("Item")

MOST_MATCHES = 50_000_000  # matches of one path against one pattern; takes some seconds
COMPILING = 1000  # the cost of parsing one pattern, in matches
CHARACTERS = 1000  # pattern characters times path characters that cost as much as one match


def matches_for(patterns: Collection[str], paths: int, size: int) -> int:
    """Compute the matches it costs to compare patterns with `paths` paths of `size` characters."""
    characters = sum(map(len, patterns)) * size // CHARACTERS
    return len(patterns) * COMPILING + max(len(patterns) * paths, characters)


def never() -> bool:
    """Never give up."""
    return False


class Effort:
    """The remaining work budget of one selection of files."""

    def __init__(self, given_up: Callable[[], bool] = never) -> None:
        """Begin with the full budget.

        Args:
            given_up: whether the caller no longer waits for the files; called often, from any
                thread.
        """
        self._given_up = given_up
        self._left = MOST_MATCHES

    def spend(self, matches: int, refusal: str) -> None:
        """Deduct matches from the budget, before they are made.

        Raises:
            BuildError: the budget is exhausted (the message is `refusal`), or the caller has given
                up.
        """
        self.check()
        self._left -= matches
        if self._left < 0:
            raise BuildError(refusal)

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give the items while the caller still waits.

        Raises:
            BuildError: the caller has given up.
        """
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """Check that the caller still waits.

        Raises:
            BuildError: the caller has given up.
        """
        if self._given_up():
            raise BuildError("nobody waits for the files of this build any more")
