"""Finds the repository that a delivery names, in its raw bytes before verification. Pure.

A claim selects the webhook secrets to try, and is shown with a refused delivery. It is never
trusted: once the signature is verified, the body is parsed, and the parsed body decides.

The body may be 25 MiB of arbitrary bytes, so it is not parsed here. It is searched once, at about
500 MB/s, in pieces: a search holds the GIL, and other threads can run between the pieces.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from jobs.rules.push_payload import FULL_NAME, LARGEST_ID

TARGET_TYPE = "x-github-hook-installation-target-type"
TARGET_ID = "x-github-hook-installation-target-id"

# JSON escapes quotation marks inside strings, so this matches only a key, never a pusher's text.
_KEY = re.compile(rb'"repository"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}\{')
# The same key in a form. The pattern begins with a literal, which makes the search fast.
_BLANKS = rb"(?:\+|%20|%0[9AaDd]){0,9}"
_FORM_KEY = re.compile(
    rb'repository(?:%22|")' + _BLANKS + rb"(?:%3[Aa]|:)" + _BLANKS + rb"(?:%7[Bb]|\{)"
)
_FORM_QUOTES = (b"%22", b'"')
_ID = re.compile(rb'"id"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}([1-9][0-9]{0,18})(?![0-9.eE])')
_NAME = re.compile(rb'"full_name"[ \t\r\n]{0,9}:[ \t\r\n]{0,9}("(?:[^"\\]|\\.){1,999}")')
_FULL_NAME = re.compile(FULL_NAME)
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")

PIECE = 1024 * 1024  # bytes per search
OVERLAP = 128  # bytes; longer than the longest key
MOST_KEYS = 8  # GitHub sends one such key, and a few whose names end in the same word
WINDOW = 8 * 1024  # bytes after a key; in GitHub's own object id and name are in the first 200


@dataclass(frozen=True)
class Claim:
    """The repository that a delivery claims to be about.

    Attributes:
        github_id: GitHub's id; None when none was found.
        full_name: `owner/name` in characters that GitHub allows; empty when none was found.
    """

    github_id: int | None = None
    full_name: str = ""


NOBODY = Claim()


def find_claim(body: bytes, headers: Mapping[str, str], *, is_form: bool) -> Claim:
    """Find the repository that a delivery claims; use its headers only when the body has no id.

    Args:
        headers: of the request; unsigned. The body is not verified yet either.
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
    """Decode the text after each key; one byte may be encoded as three."""
    for key in _keys(_FORM_KEY, body):
        if body[max(0, key.start() - 3) : key.start()].endswith(_FORM_QUOTES):
            yield unquote_to_bytes(body[key.end() : key.end() + 3 * WINDOW].replace(b"+", b" "))


def _keys(pattern: re.Pattern[bytes], body: bytes) -> Iterator[re.Match[bytes]]:
    """Give the first `MOST_KEYS` matches of a key."""
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
    """Decode a JSON string with its escapes; empty when it is not a repository's name."""
    try:
        text = json.loads(literal)
    except ValueError:
        return ""
    return text if _FULL_NAME.fullmatch(text) else ""
