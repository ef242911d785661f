"""What a delivery claims to be before anybody has verified it. Pure.

Nothing here is proof of anything: it says which secrets to try, and what to tell about a delivery
that was refused. So hostile bytes may make it wrong, but neither slow nor long.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote_to_bytes

FORM = "application/x-www-form-urlencoded"
# GitHub sends `repository` before the commits of a push: in the first two kilobytes.
LONGEST_LOOK = 64 * 1024
MOST_NAMES = 8
# As GitHub names things, and as it writes JSON; a slash may be escaped, and spaces may be anywhere.
_NAME = rb'"full_name"\s{0,9}:\s{0,9}"([A-Za-z0-9_.-]{1,100})\\?/([A-Za-z0-9_.-]{1,100})"'
NAME = re.compile(_NAME)
REPOSITORY = re.compile(rb'"repository"\s{0,9}:\s{0,9}\{')
ID = re.compile(rb'\s{0,9}"id"\s{0,9}:\s{0,9}([1-9][0-9]{0,18})\b')
NUMBER = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Claim:
    """The repository that a body names.

    Attributes:
        names: "owner/name", as it is spelt there; the likeliest comes first.
        github_id: GitHub's id of it.
    """

    names: tuple[str, ...] = ()
    github_id: int | None = None


def claim_of(content_type: str, body: bytes, *, longest_look: int = LONGEST_LOOK) -> Claim:
    """Give the repository that a body names, in its JSON or in the JSON of its form.

    Args:
        content_type: of the body, with parameters or without.
        body: its beginning is enough.
        longest_look: how many bytes of the beginning are looked at.
    """
    text = body[:longest_look]
    if content_type.lower().startswith(FORM):
        text = unquote_to_bytes(text.replace(b"+", b" "))
    begin = REPOSITORY.search(text)
    likely = begin.end() if begin else 0
    found = [*_names(text, likely), *_names(text, 0)]
    number = ID.match(text, likely) if begin else None
    return Claim(tuple(dict.fromkeys(found)), int(number[1]) if number else None)


def claimed_target(headers: Mapping[str, str]) -> int | None:
    """Give GitHub's id of the repository whose webhook sends, as the headers claim it."""
    kind = headers.get("x-github-hook-installation-target-type")
    number = headers.get("x-github-hook-installation-target-id", "")
    return int(number) if kind == "repository" and NUMBER.fullmatch(number) else None


def _names(text: bytes, begin: int) -> list[str]:
    found = islice(NAME.finditer(text, begin), MOST_NAMES)
    return [f"{match[1].decode()}/{match[2].decode()}" for match in found]
