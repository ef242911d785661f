"""Which of a repository's tags is the newest, by the order of versions. Pure.

Tags have no time that can be trusted, and a version says what its author means by newer.
"""

import re
from collections.abc import Iterable

from jobs.rules.globs import Texts
from jobs.rules.push_patterns import fitting_tags

_PART = re.compile(r"[0-9]+|[^0-9]+")
Key = tuple[tuple[int, int, str], ...]
# The order of what may follow a number: `v1-rc1` is before `v1`, and that is before `v1.1`.
_PRE_RELEASE, _END, _TEXT, _NUMBER = range(4)


def newest_tag(tags: Iterable[str], patterns: str) -> str | None:
    """Give the tag with the highest version of those that match the patterns; None without any."""
    texts = Texts(tags)
    return max(texts.ending_at(fitting_tags(patterns, texts)), key=_key, default=None)


def is_newer(tag: str, other: str) -> bool:
    """Whether a tag's version is higher than another's."""
    return _key(tag) > _key(other)


def _key(tag: str) -> Key:
    """Give the parts to compare: numbers by value, and text by its characters."""
    found: list[tuple[int, int, str]] = []
    for part in _PART.findall(tag):
        if part.isascii() and part.isdigit():
            # By length and digits: Python refuses to convert a number of thousands of digits.
            digits = part.lstrip("0")
            found.append((_NUMBER, len(digits), digits))
        else:
            is_pre_release = part.startswith("-") and bool(found)
            found.append((_PRE_RELEASE if is_pre_release else _TEXT, 0, part))
    return (*found, (_END, 0, ""))
