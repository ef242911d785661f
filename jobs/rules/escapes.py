"""Decodes escaped characters: in URLs, in quoted strings, in HTML. Pure.

Each escape is decoded on its own. So it does not matter which characters a program has escaped, or
in which spelling.
"""

import html
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from jobs.rules.text import UNSEEN

Span = tuple[int, int]
# A cheap test whether a text may hold an escape at all.
SIGNS = re.compile(r"[%\\&+](?:(?<=%)[0-9A-Fa-f]{2}|(?<=\\).|(?<=&)[#\w]|(?<=\+))", re.DOTALL)
MEANS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b"}


@dataclass(frozen=True)
class Code:
    """One way to escape characters."""

    pattern: re.Pattern[str]
    meaning: Callable[[re.Match[str]], str]

    def read(self, text: str) -> str:
        """Decode the text."""
        return self.pattern.sub(self.meaning, text)

    def located(self, text: str, spans: Collection[Span]) -> list[Span]:
        """Translate spans of the decoded text into spans of the text itself."""
        if not spans:
            return []
        starts: list[int] = []
        ends: list[int] = []
        done = 0
        for found in self.pattern.finditer(text):
            begin, end = found.span()
            length = len(self.meaning(found))
            starts += [*range(done, begin), *[begin] * length]
            ends += [*range(done + 1, begin + 1), *[end] * length]
            done = end
        starts += range(done, len(text))
        ends += range(done + 1, len(text) + 1)
        return [(starts[begin], ends[end - 1]) for begin, end in spans]


def _bytes_after(sign: str) -> str:
    """Give the pattern for one UTF-8 character, with `sign` before each byte, or for one byte.

    The pattern does not include the first sign.
    """
    more = f"{sign}[89ab][0-9a-f]"
    return f"f[0-4](?:{more}){{3}}|e[0-9a-f](?:{more}){{2}}|[cd][0-9a-f]{more}|[0-9a-f]{{2}}"


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _percent(found: re.Match[str]) -> str:
    return " " if found[0] == "+" else _decoded(bytes.fromhex(found[0].replace("%", "")))


def _backslash(found: re.Match[str]) -> str:
    text = found[0]
    kind = text[1]
    if len(text) == len("\\n"):
        return MEANS.get(kind, kind)
    if kind.isdecimal():
        return _decoded(bytes(int(octal, 8) for octal in text.split("\\")[1:]))
    digits = re.sub(r"\\[xu]|[{}]", "", text[2:], flags=re.IGNORECASE)
    if kind in "xX":
        return _decoded(bytes.fromhex(digits))
    if len(digits) == len("d83dde00") and kind == "u":
        return bytes.fromhex(digits).decode("utf-16-be")
    number = int(digits, 16)
    return chr(number) if number <= 0x10FFFF else text  # noqa: PLR2004


AS_SEEN = Code(UNSEEN, lambda _: "")
URL = Code(re.compile(rf"%(?:{_bytes_after('%')})", re.IGNORECASE), _percent)
FORM = Code(re.compile(rf"[+%](?:(?<=\+)|(?<=%)(?:{_bytes_after('%')}))", re.IGNORECASE), _percent)
OCTAL = r"|[0-3][0-7]{2}(?:\\[0-3][0-7]{2})*"
# The escapes of JSON, JavaScript, Python, Go, C, and of shells in double quotes or after $'.
QUOTED = Code(
    re.compile(
        r"\\(?:(?-i:U)[0-9a-f]{8}|ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u[0-9a-f]{4}"
        r"|u\{[0-9a-f]{1,6}\}|x(?:" + _bytes_after(r"\\x") + rf"){OCTAL}|.)",
        re.IGNORECASE | re.DOTALL,
    ),
    _backslash,
)
# The same in a text that was cut or joined inside of escapes: a backslash before another one means
# nothing, and neither does one before digits, as in JSON.
CUT = Code(
    re.compile(QUOTED.pattern.pattern.replace(f"{OCTAL}|.", r"|[^\\]"), QUOTED.pattern.flags),
    lambda found: found[0][1] if found[0][1].isdecimal() else _backslash(found),
)
HTML = Code(
    re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE),
    lambda found: html.unescape(found[0]),
)
CODES = (URL, FORM, QUOTED, CUT, HTML)
