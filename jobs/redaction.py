"""Masking secrets in text, in every form in which programs usually write them. Pure.

Plain, URL-encoded, base64 (also where it stands inside a longer text, or is wrapped), and escaped
for JSON, HTML and shells.
"""

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

MASK = "[REDACTED]"
# Shorter values occur by chance in ordinary text; masking them would hide the log, not the secret.
SHORTEST_SECRET = 4
# Where `base64` and PEM begin another line.
WRAPPED_AT = (76, 64)
ESCAPED = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Replaces every known form of every known secret in text.

    A multi-line secret is masked line by line, because logs are; and whole, where it is encoded.
    """

    def __init__(self, values: Iterable[SecretStr] = ()) -> None:
        forms: set[str] = set()
        for value in values:
            forms |= _all_forms(value.get_secret_value())
        # Longest first, so that a secret which contains another leaves no tail.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Give the text with the secrets masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _all_forms(value: str) -> set[str]:
    lines = {line.strip() for line in value.splitlines()}
    # Encoded whole, a secret of several lines stands on one; its last line end may be missing.
    whole = {value, value.rstrip("\r\n"), *(lines if len(lines) == 1 else ())}
    forms = {form for line in lines for form in (line, *_encoded(line)) if _is_long(line)}
    forms |= {form for text in whole for form in (*_encoded(text), *_sent(text)) if _is_long(text)}
    return {form for form in forms if _is_long(form) and "\n" not in form}


def _is_long(text: str) -> bool:
    return len(text) >= SHORTEST_SECRET


def _encoded(secret: str) -> set[str]:
    return _url_forms(secret) | _escaped_forms(secret) | _base64_forms(secret.encode())


def _sent(secret: str) -> set[str]:
    """Give what programs make of a secret as one: a header of git's, an encoding that is wrapped.

    Git sends a token as the password of this user name; base64 of the pair is the token too.
    """
    forms = _base64_forms(f"x-access-token:{secret}".encode())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms |= _wrapped(encode(secret.encode()).decode())
    return forms


def _url_forms(secret: str) -> set[str]:
    """Give the URL encodings; curl and browsers write %2F, git writes %2f."""
    forms = {quote(secret, safe=""), quote_plus(secret), quote(secret)}
    return forms | {ESCAPED.sub(lambda found: found[0].lower(), form) for form in forms}


def _escaped_forms(secret: str) -> set[str]:
    """Give what stands between the quotes of JSON, HTML, Python and a shell."""
    written = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        *written,
        # PHP and some browsers escape the slash; Go and Rails what could be HTML.
        *(form.replace("/", "\\/") for form in written),
        *(_without_html(form) for form in written),
        html.escape(secret),
        html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        repr(secret)[1:-1],
        shlex.quote(secret).strip("'"),
    }


def _without_html(text: str) -> str:
    return text.translate({ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&"})


def _base64_forms(raw: bytes) -> set[str]:
    """Give the encodings of `raw`, in both alphabets, at each offset inside a longer text.

    The characters at either end that depend on the neighbours are cut off.
    """
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms.add(encode(raw).decode())
        for offset, cut in ((0, 0), (1, 2), (2, 3)):
            encoded = encode(b"\0" * offset + raw).decode().rstrip("=")
            forms.add(encoded[cut:-1])
    return forms


def _wrapped(text: str) -> set[str]:
    """Give the lines of a long encoding; the rest of one that is short says too little."""
    return {
        line
        for width in WRAPPED_AT
        if len(text) > width
        for start in range(0, len(text), width)
        if len(line := text[start : start + width].rstrip("=")) >= 2 * SHORTEST_SECRET
    }
