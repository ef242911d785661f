r"""The patterns of watched paths and tags: which of them match. Pure.

They are written as in GitHub Actions' `paths` and `tags`: `*` stays inside one folder, `**` crosses
folders, `[a-z0-9]` is one of these characters, `x+` is one or more of them, `x?` is one or none,
`\` makes the next character literal, and `!` takes away what the patterns before it matched.

People also know globs from a shell, from .gitignore and from .dockerignore, where `?` is any one
character and `+` is itself; and some folders are really called `[id]`. So a pattern matches what
any of these readings matches: one deployment too many is better than pushes that are ignored. After
`!` only GitHub's reading counts, for the same reason.

Source: GitHub's "Workflow syntax", section "Filter pattern cheat sheet" (read 2026-12-01).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from jobs.rules.globs import Part, Repeated, Texts, is_class, parts_of
from jobs.rules.pattern_text import Plain, plain_path, plain_tag, several

# Most stored patterns: nothing can be written out in them. This only saves time.
USUAL = re.compile(r"!?(?!refs/)(?:(?!\.)[A-Za-z0-9_*?+.-]++/?)*+(?<!/)")
WILD = frozenset("*?[]+\\")
# After these, `+` and `?` repeat nothing: `+page.svelte` is a name, and `*?` is a shell's.
UNREPEATABLE = frozenset({"*", "**", "**/", "/", "?"})


@dataclass(frozen=True)
class Pattern:
    """One pattern, taken apart.

    Attributes:
        readings: the parts of each way to read the pattern; any of them may match.
        with_content: whether a match of a folder's name also matches every path below it.
    """

    is_negated: bool
    readings: tuple[tuple[Part, ...], ...]
    with_content: bool = False

    def cost(self, texts: Texts) -> int:
        """Give the cost of matching the pattern against the texts, in the unit of `Texts.cost`."""
        return sum(texts.cost(parts) for parts in self.readings)

    def fitted(self, texts: Texts) -> int:
        """Give the ends of the texts that the pattern matches, a bit for each."""
        ends = 0
        for parts in self.readings:
            ends |= texts.fitted_by(parts, with_content=self.with_content)
        return ends

    def after(self, ends: int, texts: Texts) -> int:
        """Give the ends of the texts that match after this pattern of a list.

        Args:
            ends: those that matched before it.
        """
        fitted = self.fitted(texts)
        return ends & ~fitted if self.is_negated else ends | fitted


def at_first(patterns: Iterable[Pattern], texts: Texts) -> int:
    """Give the ends of the texts that match before a list's first pattern.

    These are all of them if the whole list only takes away.
    """
    return texts.ends if all(pattern.is_negated for pattern in patterns) else 0


def is_tag_wanted(patterns: str, tag: str) -> bool:
    """Whether a tag matches stored patterns of tags."""
    return fitting_tags(patterns, Texts([tag])) != 0


def fitting_tags(patterns: str, tags: Texts) -> int:
    """Give the ends of the tags that match stored patterns of tags, a bit for each."""
    known = tag_patterns(patterns)
    ends = at_first(known, tags)
    for pattern in known:
        ends = pattern.after(ends, tags)
    return ends


@lru_cache(maxsize=4096)
def path_patterns(text: str) -> tuple[Pattern, ...]:
    """Take a stored pattern of paths apart; one from an earlier version may be several."""
    return tuple(_path_pattern(each) for each in _stored(text, plain_path))


@lru_cache(maxsize=4096)
def tag_patterns(text: str) -> tuple[Pattern, ...]:
    """Take stored patterns of tags apart."""
    return tuple(_pattern(each) for each in _stored(text, plain_tag))


def _stored(text: str, plain: Plain) -> list[str]:
    """Give the stored form of what an earlier version stored; unchanged if it is refused now."""
    if USUAL.fullmatch(text):
        return [text]
    try:
        return several(text, plain)
    except ValueError:
        return [text]


def _path_pattern(text: str) -> Pattern:
    """Take a pattern of paths apart: a plain name may be a folder, which means all below it."""
    last = text.removeprefix("!").rpartition("/")[2]
    return _pattern(text if last else f"{text}**", with_content=WILD.isdisjoint(last))


def _pattern(text: str, *, with_content: bool = False) -> Pattern:
    parts = list(parts_of(text.removeprefix("!")))
    by_github = tuple(_with_quantifiers(parts))
    if text.startswith("!"):
        return Pattern(is_negated=True, readings=(by_github,), with_content=with_content)
    in_a_shell = tuple[Part, ...](parts)
    as_written = tuple[Part, ...](_without_classes(parts))
    readings = tuple(dict.fromkeys((by_github, in_a_shell, as_written)))
    return Pattern(is_negated=False, readings=readings, with_content=with_content)


def _with_quantifiers(parts: Iterable[str]) -> Iterator[Part]:
    before: str | None = None
    for part in parts:
        if part in {"+", "?"} and before is not None:
            yield Repeated(before, is_needed=part == "+")
            before = None
            continue
        if before is not None:
            yield before
        before = None if part in UNREPEATABLE else part
        if before is None:
            yield part
    if before is not None:
        yield before


def _without_classes(parts: Iterable[str]) -> Iterator[str]:
    """Give the parts with brackets as they are written, as in a folder's name."""
    for part in parts:
        if is_class(part):
            yield from parts_of("".join(f"\\{each}" for each in part))
        else:
            yield part
