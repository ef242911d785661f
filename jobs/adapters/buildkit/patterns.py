"""What the patterns of a .dockerignore file mean, and of what COPY names. Pure.

They are globs as `jobs.rules.globs` matches them. Beside that, `!` takes a path back in, the last
pattern that fits decides, a pattern that fits a folder fits everything in it, and `**` crosses
folders only where the Docker Engine says so.

Repositories are hostile, but to match a glob takes no more steps than it has parts. How many
patterns there may be for how many paths is for the caller to say.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files (read 2026-11-20), and
what the Docker Engine makes of the patterns: github.com/moby/patternmatcher (read 2026-11-30).
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator

from jobs.adapters.buildkit.effort import never
from jobs.errors import BuildError
from jobs.rules.globs import Texts, parts_of

ANY, FOLDERS = "**", "**/"
LONGEST_PATTERN = 4096  # characters; no path on Linux is longer
# Each takes memory while paths are matched.
MOST_CHARACTERS = 1000
BATCH = 64 * 1024  # characters of paths that are matched at once, so that they fit into a cache
_SPECIAL = frozenset("*?[]\\")
_REFUSED = {"[": "a bracket that is not closed properly", "\\": "a backslash at its end"}


class Patterns:
    """A list of patterns that paths are asked against."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take the patterns apart.

        Raises:
            BuildError: a pattern is too long, or is none, or they are of too many characters.
        """
        cleaned = (pattern.strip() for pattern in patterns)
        self._rules = [
            (not pattern.startswith("!"), _parts(pattern.removeprefix("!")))
            for pattern in cleaned
            if pattern
        ]
        if len({part for _, parts in self._rules for part in parts}) > MOST_CHARACTERS:
            raise BuildError(
                f"the patterns of .dockerignore, or of what COPY names, have more than "
                f"{MOST_CHARACTERS} different characters"
            )

    def fitting(self, paths: Iterable[str], check: Callable[[], object] = never) -> set[str]:
        """Give the paths for which the last pattern that fits them, or a folder above, has no `!`.

        Args:
            paths: of files and folders, in any order.
            check: called for each pattern again and again; it may raise.
        """
        found = set[str]()
        for texts in _batches(paths):
            fitting = 0
            for is_wanted, parts in self._rules:
                check()
                ends = texts.fitted_by(parts, with_content=True)
                fitting = fitting | ends if is_wanted else fitting & ~ends
            found.update(texts.ending_at(fitting))
        return found


def exactly_fitting(pattern: str, paths: Iterable[str]) -> Iterator[str]:
    """Give the paths that the pattern fits, without those below them.

    Raises:
        BuildError: the pattern is too long, or is none.
    """
    parts = _parts(pattern)
    for texts in _batches(paths):
        yield from texts.ending_at(texts.fitted_by(parts))


def _parts(pattern: str) -> list[str]:
    """Give the parts of a pattern without its `!`; `**` becomes what the Docker Engine makes of it.

    Raises:
        BuildError: the pattern is too long, or is none.
    """
    if len(pattern) > LONGEST_PATTERN:
        start = pattern[:40]
        raise BuildError(f"the pattern {start!r}… is longer than {LONGEST_PATTERN} characters")
    parts = []
    for part in parts_of(posixpath.normpath(pattern.strip()).lstrip("/")):
        if part in _REFUSED:
            raise BuildError(f"the pattern {pattern!r} has {_REFUSED[part]}")
        parts.append(part)
    if parts[:1] == [ANY] and _SPECIAL.isdisjoint("".join(parts[1:])):
        return parts  # `**.log` are such files everywhere
    # Elsewhere `a**b` is `a**/b`; a `**` at the end stays what it is.
    return [FOLDERS if part == ANY else part for part in parts[:-1]] + parts[-1:]


def _batches(paths: Iterable[str]) -> Iterator[Texts]:
    batch, size = list[str](), 0
    for path in paths:
        batch.append(path)
        size += len(path)
        if size >= BATCH:
            yield Texts(batch)
            batch, size = [], 0
    yield Texts(batch)
