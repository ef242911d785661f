"""What the patterns of a .dockerignore file mean. Pure.

`*` and `?` stay inside one folder, `**` crosses any number of them, `!` takes a path back in, the
last pattern that fits decides, and a pattern that fits a folder fits everything in it.

Repositories are hostile: every `*` but a segment's last and every `**` but a pattern's last is an
atomic group, which takes the first fit and never tries another. For globs that is always enough,
and no pattern can make matching explode. How many patterns there may be for how many paths is for
the caller to say.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files (read 2026-11-20).
"""

import posixpath
import re
from collections.abc import Iterable

from jobs.errors import BuildError

ANY_FOLDERS = "**"
LONGEST_PATTERN = 4096  # characters; no path on Linux is longer
NO_RULE = -1
_MEMBER = r"(\\.|[^\\\]-])"
_RANGE = re.compile(f"{_MEMBER}(?:-{_MEMBER})?", re.DOTALL)
_CLASS = re.compile(rf"\[(?P<negated>\^?+)(?P<ranges>(?:{_MEMBER}(?:-{_MEMBER})?)+)\]", re.DOTALL)


class Patterns:
    """A list of patterns that paths are asked against."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile the patterns.

        Raises:
            BuildError: a pattern is too long, or has a bracket that is not closed properly.
        """
        cleaned = (pattern.strip() for pattern in patterns)
        self._rules = [_rule(pattern) for pattern in cleaned if pattern]
        # The last rule that fits a folder, or a folder it is in: asked for each of its files. One
        # number a folder, as a repository may have very many folders and very many patterns.
        self._folders: dict[str, int] = {"": NO_RULE}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def match(self, path: str) -> bool:
        """Whether the last pattern that fits the path, or a folder it is in, is without `!`."""
        last = self._folders.get(path)
        if last is None:
            last = self._last(path, self._folder(posixpath.dirname(path)))
        return last != NO_RULE and self._rules[last][1]

    def _folder(self, path: str) -> int:
        unknown = []
        while path not in self._folders:
            unknown.append(path)
            path = posixpath.dirname(path)
        last = self._folders[path]
        for folder in reversed(unknown):
            last = self._folders[folder] = self._last(folder, last)
        return last

    def _last(self, path: str, inherited: int) -> int:
        """Give the last rule that fits a path, or the one that its folder has, if that is later."""
        for place in range(len(self._rules) - 1, inherited, -1):
            if self._rules[place][0].fullmatch(path):
                return place
        return inherited


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Give the expression that fits the same whole paths as the pattern, without its `!`.

    Raises:
        BuildError: the pattern is too long, or has a bracket that is not closed properly.
    """
    if len(pattern) > LONGEST_PATTERN:
        start = pattern[:40]
        raise BuildError(f"the pattern {start!r}… is longer than {LONGEST_PATTERN} characters")
    segments = _segments(pattern)
    pieces, pending = [], ""
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment != ANY_FOLDERS:
            pending += _segment(segment, pattern) + ("" if last else "/")
        elif last:
            pending += ".+"
        else:
            pieces.append(pending)
            pending = "(?:[^/]+/)*?"
    # Each piece but the first begins with a `**`; only the last one may try further.
    atoms = "".join(f"(?>{piece})" for piece in pieces if piece)
    return re.compile(atoms + pending, re.DOTALL)


def _rule(pattern: str) -> tuple[re.Pattern[str], bool]:
    included = not pattern.startswith("!")
    return compile_pattern(pattern if included else pattern[1:]), included


def _segments(pattern: str) -> list[str]:
    """Split a pattern at its slashes, so that `**` stands alone wherever it crosses folders.

    Inside a name `**` can do no more than `*`: a folder that fits takes its files along.
    """
    found: list[str] = []
    for segment in posixpath.normpath(f"/{pattern.strip()}").lstrip("/").split("/"):
        if segment.startswith(ANY_FOLDERS) and found[-1:] != [ANY_FOLDERS]:
            found.append(ANY_FOLDERS)
        # `**.log` is written for "such files everywhere".
        if not segment.startswith(ANY_FOLDERS) or segment.strip("*"):
            found.append(segment)
    return found


def _segment(segment: str, pattern: str) -> str:
    """Give the expression for one folder's or file's name."""
    *heads, tail = _split_at_stars(segment, pattern)
    if not heads:
        return tail
    first, *middle = heads
    atoms = "".join(f"(?>[^/]*?{piece})" for piece in middle if piece)
    # What follows the last star must reach the end of the name, so it alone is tried further.
    return f"{first}{atoms}[^/]*{tail}(?![^/])"


def _split_at_stars(segment: str, pattern: str) -> list[str]:
    pieces, position = [""], 0
    while position < len(segment):
        letter = segment[position]
        if letter == "*":
            pieces.append("")
            position += 1
        elif letter == "?":
            pieces[-1] += "[^/]"
            position += 1
        elif letter == "[":
            expression, position = _class(segment, position, pattern)
            pieces[-1] += expression
        else:
            position += letter == "\\" and position + 1 < len(segment)
            pieces[-1] += re.escape(segment[position])
            position += 1
    return pieces


def _class(segment: str, position: int, pattern: str) -> tuple[str, int]:
    found = _CLASS.match(segment, position)
    if found is None:
        raise BuildError(f"the pattern {pattern!r} has a bracket that is not closed properly")
    ranges = [(low[-1], (high or low)[-1]) for low, high in _RANGE.findall(found["ranges"])]
    members = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not members:  # ranges that run backwards hold nothing
        return ("[^/]" if found["negated"] else "(?!)"), found.end()
    return f"(?!/)[{found['negated']}{members}]", found.end()
