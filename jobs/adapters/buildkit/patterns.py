"""The meaning of the patterns in a .dockerignore file and in COPY instructions. Pure.

They are globs as `jobs.rules.globs` matches them. In addition, `!` includes a path again, the last
matching pattern decides, a pattern that matches a folder matches everything in it, and `**` matches
across folders only where it does so in the Docker Engine.

Repositories are untrusted, but matching a glob takes at most as many steps as the glob has parts.
The caller limits the number of patterns and paths.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files (read 2026-11-20), and
the Docker Engine's implementation: github.com/moby/patternmatcher (read 2026-11-30).
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator

from jobs.adapters.buildkit.effort import never
from jobs.errors import BuildError
from jobs.rules.globs import Texts, parts_of

ANY, FOLDERS = "**", "**/"
LONGEST_PATTERN = 4096  # characters; no path on Linux is longer
# Different characters in all patterns; each of them takes memory while paths are matched.
MOST_CHARACTERS = 1000
BATCH = 64 * 1024  # characters of paths that are matched at once, so that they fit into a CPU cache
_SPECIAL = frozenset("*?[]\\")
_REFUSED = {"[": "a bracket that is not closed properly", "\\": "a backslash at its end"}


class Patterns:
    """A list of patterns to match paths against."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Parse the patterns.

        Raises:
            BuildError: a pattern is too long or invalid, or all together have too many different
                characters.
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
        """Give the paths where the last pattern that matches them or a parent folder has no `!`.

        Args:
            paths: of files and folders, in any order.
            check: called for each pattern and batch of paths; it may raise.
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
    """Give the paths that match the pattern, without the paths below them.

    Raises:
        BuildError: the pattern is too long or invalid.
    """
    parts = _parts(pattern)
    for texts in _batches(paths):
        yield from texts.ending_at(texts.fitted_by(parts))


def _parts(pattern: str) -> list[str]:
    """Split a pattern without its `!` into parts; interpret `**` as the Docker Engine does.

    Raises:
        BuildError: the pattern is too long or invalid.
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
        return parts  # `**.log` matches these files in all folders
    # In all other positions `a**b` means `a**/b`; a `**` at the end stays unchanged.
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
