"""Which repository a delivery names, found in its raw bytes before anything is proven. Pure.

A claim selects the webhook secrets that are tried, and is shown where a delivery was refused. It
is never believed: after the signature has been verified the body is parsed, and decides.

The body may be 25 MiB of anything, so it is not parsed here. It is searched once, at some
500 MB/s, in pieces: a search holds the interpreter's lock, and other threads get their turn in
between.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from jobs.rules.push_payload import FULL_NAME, LARGEST_ID

TARGET_TYPE = "x-github-hook-installation-target-type"
TARGET_ID = "x-github-hook-installation-target-id"

# JSON escapes quotation marks inside strings, so this is always a key, never a pusher's text.
_KEY = re.compile(rb'"repository"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}\{')
# The same in a form. The pattern begins with a letter, which is what makes the search quick.
_BLANKS = rb"(?:\+|%20|%0[9AaDd]){0,9}"
_FORM_KEY = re.compile(
    rb'repository(?:%22|")' + _BLANKS + rb"(?:%3[Aa]|:)" + _BLANKS + rb"(?:%7[Bb]|\{)"
)
_FORM_QUOTES = (b"%22", b'"')
_ID = re.compile(rb'"id"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}([1-9][0-9]{0,18})(?![0-9.eE])')
_NAME = re.compile(rb'"full_name"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}("(?:[^"\\]|\\.){1,999}")')
_FULL_NAME = re.compile(FULL_NAME)
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")

PIECE = 1024 * 1024  # bytes that are searched at once
OVERLAP = 128  # more than the longest key
MOST_KEYS = 8  # GitHub sends one, and a few whose names only end in the same word
WINDOW = 8 * 1024  # bytes after a key; GitHub's own object has id and name in its first 200


@dataclass(frozen=True)
class Claim:
    """The repository that a delivery says it is about.

    Attributes:
        github_id: GitHub's id; None when none was found.
        full_name: `owner/name` of letters that GitHub allows; empty when none was found.
    """

    github_id: int | None = None
    full_name: str = ""


NOBODY = Claim()


def find_claim(body: bytes, headers: Mapping[str, str], *, is_form: bool) -> Claim:
    """Find what a delivery claims to be about; its headers say only what the body does not.

    Args:
        headers: of the request; unsigned, like the body as far as anybody knows by now.
        is_form: whether the body is `application/x-www-form-urlencoded`.
    """
    windows = _form_windows(body) if is_form else _windows(body)
    found = next(filter(None, map(_read, windows)), NOBODY)
    return found if found.github_id else Claim(_target_of(headers), found.full_name)


def _target_of(headers: Mapping[str, str]) -> int | None:
    if headers.get(TARGET_TYPE) != "repository":
        return None
    told = headers.get(TARGET_ID, "")
    return _id(told) if _NUMBER.fullmatch(told) else None


def _windows(body: bytes) -> Iterator[bytes]:
    for key in _keys(_KEY, body):
        yield body[key.end() : key.end() + WINDOW]


def _form_windows(body: bytes) -> Iterator[bytes]:
    """Decode what stands behind each key; one byte may have been written as three."""
    for key in _keys(_FORM_KEY, body):
        if body[max(0, key.start() - 3) : key.start()].endswith(_FORM_QUOTES):
            yield unquote_to_bytes(body[key.end() : key.end() + 3 * WINDOW].replace(b"+", b" "))


def _keys(pattern: re.Pattern[bytes], body: bytes) -> Iterator[re.Match[bytes]]:
    """Give the first few places where a key stands."""
    found, start = 0, 0
    while start < len(body) and found < MOST_KEYS:
        key = pattern.search(body, start, start + PIECE + OVERLAP)
        if key is None:
            start += PIECE
            continue
        yield key
        found += 1
        start = key.end()


def _read(window: bytes) -> Claim | None:
    numbered, named = _ID.search(window), _NAME.search(window)
    github_id = _id(numbered[1].decode()) if numbered else None
    full_name = _text(named[1]) if named else ""
    return Claim(github_id, full_name) if github_id or full_name else None


def _id(digits: str) -> int | None:
    number = int(digits)
    return number if number <= LARGEST_ID else None


def _text(literal: bytes) -> str:
    """Read a JSON string, escapes and all; empty when it is no repository's name."""
    try:
        text = json.loads(literal)
    except ValueError:
        return ""
    return text if _FULL_NAME.fullmatch(text) else ""
