"""Masks secrets in text, in all forms in which programs usually write them. Pure.

The visible text counts: a secret with zero-width characters or escape sequences inside is found
too. A secret is masked in plain form, escaped for URLs, JSON, HTML, programming languages and
shells (see `jobs.rules.escapes`; also with nested escapes), in hexadecimal, and in base64, also if
the base64 encodes a longer text or is wrapped. Values that occur in every log are not masked (see
`jobs.rules.secret_values.is_masked`).
"""

import base64
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from itertools import chain, takewhile

from pydantic import SecretStr

from jobs.rules.escapes import AS_SEEN, CODES, SIGNS, Span
from jobs.rules.secret_values import is_masked
from jobs.rules.text import LINE_END, STYLE, bare

MASK = "[REDACTED]"
# The shortest piece of wrapped base64 that is masked: 6 bytes, which do not match by chance.
SHORTEST_PIECE = 8
BASE64 = re.compile(r"[A-Za-z0-9+/_-]+")
DEPTH = 2  # levels of escapes inside escapes
# The deepest nesting of alternatives in a pattern, because `re` has a limit; below it, a flat list.
DEEPEST = 30


class Redactor:
    """Replaces every known form of every known secret in text.

    A multi-line secret is masked line by line, because logs are lines; its encoded forms are masked
    as a whole too.
    """

    def __init__(self, values: Iterable[SecretStr] = ()) -> None:
        words: set[str] = set()
        encoded: set[str] = set()
        for value in values:
            secret = value.get_secret_value()
            words |= _written(secret)
            encoded |= _base64_of(secret)
        found = {word for word in words | encoded if is_masked(word)}
        self._pattern = re.compile(_any_of(found)) if found else None
        self._encoded = "\n".join(encoded)

    def __call__(self, text: str) -> str:
        """Mask the secrets in a text; change nothing else."""
        if self._pattern is None:
            return text
        if (seen := bare(text)) == text:
            return _masked(text, self._meant(text, DEPTH))
        masked = _masked(text, AS_SEEN.located(text, self._meant(seen, DEPTH)))
        # Mask inside escape sequences too: where they are not interpreted, their text is visible.
        return _masked(masked, self._meant(masked, DEPTH))

    def _seen(self, text: str, depth: int) -> list[Span]:
        """Find secrets in the visible part of a text."""
        seen = bare(text)
        spans = self._meant(seen, depth)
        return spans if seen == text else AS_SEEN.located(text, spans)

    def _meant(self, text: str, depth: int) -> list[Span]:
        """Find secrets in a text, and in its decoded forms if it has escapes."""
        spans = self._plain(text) + self._wrapped(text)
        if depth and SIGNS.search(text):
            read = {text}
            for code in CODES:
                if (meant := code.read(text)) not in read:
                    read.add(meant)
                    inside = self._seen(meant, depth - 1)
                    # Search the decoded text with its invisible characters as well: a program may
                    # read it in that form.
                    also = [] if bare(meant) == meant else self._meant(meant, 0)
                    spans += code.located(text, inside + also)
        return spans

    def _plain(self, text: str) -> list[Span]:
        if self._pattern is None or not self._pattern.search(text):
            return []
        # Secrets may overlap, so search again from every place, not from the end of each match.
        return [found.span(1) for found in self._at_any_place.finditer(text)]

    @cached_property
    def _at_any_place(self) -> re.Pattern[str]:
        return re.compile(f"(?=({self._pattern.pattern if self._pattern else ''}))")

    def _wrapped(self, text: str) -> list[Span]:
        """Find the part of a wrapped base64 line that is of a secret: the whole line, or an end."""
        word = text.rstrip("= \t").rpartition(" ")[2]
        if len(word) < SHORTEST_PIECE or not BASE64.fullmatch(word):
            return []
        begin = text.rfind(word)
        end = begin + len(word)
        head = self._shared(len(word), lambda size: word[:size])
        tail = self._shared(len(word), lambda size: word[-size:])
        return [*([(begin, begin + head)] if head else []), *([(end - tail, end)] if tail else [])]

    def _shared(self, most: int, piece: Callable[[int], str]) -> int:
        """Give the length of the longest piece found in encoded secrets; 0 if it is too short."""
        if piece(SHORTEST_PIECE) not in self._encoded:
            return 0
        is_too_long = lambda size: piece(size) not in self._encoded  # noqa: E731
        return bisect_left(range(most + 1), True, SHORTEST_PIECE, key=is_too_long) - 1  # noqa: FBT003


def _masked(text: str, spans: Collection[Span]) -> str:
    if not spans:
        return text
    masked, end = [], 0
    for begin, stop in _joined(spans):
        # Keep the styles that begin inside a secret: they apply to the text after it.
        styles = (found[0] for found in STYLE.finditer(text, begin, stop))
        masked += [text[end:begin], MASK, *styles]
        end = stop
    return "".join([*masked, text[end:]])


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Sort spans, and merge those that overlap."""
    begin = end = -1
    for start, stop in sorted(spans):
        if start < end:
            end = max(end, stop)
            continue
        if end >= 0:
            yield begin, end
        begin, end = start, stop
    if end >= 0:
        yield begin, end


# --- Forms of a secret ---------------------------------------------------------------------------


def _written(secret: str) -> set[str]:
    """Give the visible plain forms of a secret, and its hexadecimal forms."""
    raw = _parts(secret)
    # As written in a log, and with its whitespace collapsed to one line.
    texts = {bare(text).strip() for part in raw for text in (part, " ".join(part.split()))}
    texts |= {unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")}
    # As a shell writes a quote inside quotes.
    quoted = {text.replace("'", quote) for text in texts for quote in ("'\\''", "'\"'\"'")}
    digits = {part.encode().hex() for part in raw if is_masked(part)}
    return texts | quoted | digits | {text.upper() for text in digits}


def _base64_of(secret: str) -> set[str]:
    """Give a secret's base64 forms, also as the password that git sends for `x-access-token`."""
    forms: set[str] = set()
    for part in _parts(secret):
        if is_masked(part):
            forms |= _base64_forms(part.encode())
            forms |= _base64_forms(f"x-access-token:{part}".encode())
    return forms


def _parts(secret: str) -> set[str]:
    """Give a secret's lines, and the whole secret with and without its last line end."""
    return {secret, secret.rstrip("\r\n"), *(line.strip() for line in LINE_END.split(secret))}


def _base64_forms(raw: bytes) -> set[str]:
    """Give the base64 of `raw`, in both alphabets, at each offset inside a longer text.

    The characters at both ends that depend on neighbouring bytes are cut off.
    """
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms.add(encode(raw).decode())
        for offset, cut in ((0, 0), (1, 2), (2, 3)):
            encoded = encode(b"\0" * offset + raw).decode().rstrip("=")
            forms.add(encoded[cut:-1])
    return forms


def _any_of(words: Collection[str], depth: int = 0) -> str:
    """Give a pattern that matches any of the words, the longest one possible.

    The words are grouped by common prefixes: `re` would try a flat list one by one at every place.
    """
    first, last = min(words), max(words)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    length = sum(1 for _ in alike)
    rests: dict[str, list[str]] = defaultdict(list)
    for word in words:
        rests[word[length : length + 1]].append(word[length:])
    ends_here = rests.pop("", None) is not None
    if not rests:
        return re.escape(first)
    if depth == DEEPEST:
        inner = [*map(re.escape, sorted(chain(*rests.values()), key=len, reverse=True))]
    else:
        inner = [_any_of(group, depth + 1) for group in rests.values()]
    return f"{re.escape(first[:length])}(?:{'|'.join(inner)}){'?' * ends_here}"
