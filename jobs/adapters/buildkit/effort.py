"""How much may be done to find out which files a build is given, and whether anybody still waits.

A repository brings both the files and the patterns they are compared with, so what it can ask for
grows with the product of the two.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from jobs.errors import BuildError

Item = TypeVar("Item")

MOST_MATCHES = 50_000_000  # of a path against a pattern; some seconds
COMPILING = 1000  # matches that take as long as to make one pattern ready
CHARACTERS = 1000  # of patterns times those of paths: they take as long as one match


def matches_for(patterns: Collection[str], paths: int, size: int) -> int:
    """Give how many matches it takes to compare patterns with paths of so many characters."""
    characters = sum(map(len, patterns)) * size // CHARACTERS
    return len(patterns) * COMPILING + max(len(patterns) * paths, characters)


def never() -> bool:
    """Go on whatever happens."""
    return False


class Effort:
    """What may still be done for one selection of files."""

    def __init__(self, given_up: Callable[[], bool] = never) -> None:
        """Begin with the whole of it.

        Args:
            given_up: whether nobody waits for the files any more; asked often, from any thread.
        """
        self._given_up = given_up
        self._left = MOST_MATCHES

    def spend(self, matches: int, refusal: str) -> None:
        """Take so many matches off what may be done, before they are done.

        Raises:
            BuildError: that is more than is left, as the refusal says; or nobody waits any more.
        """
        self.check()
        self._left -= matches
        if self._left < 0:
            raise BuildError(refusal)

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give the items for as long as somebody waits.

        Raises:
            BuildError: nobody waits any more.
        """
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """Make sure that somebody still waits.

        Raises:
            BuildError: nobody does.
        """
        if self._given_up():
            raise BuildError("nobody waits for the files of this build any more")
