"""Masking secrets in text: plain, URL-encoded and base64 forms. Pure."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

MASK = "[REDACTED]"
# Shorter values occur by chance in ordinary text; masking them would hide the log, not the secret.
SHORTEST_SECRET = 4
ESCAPED = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Replaces every known form of every known secret in text.

    A multi-line secret is masked line by line, because logs are.
    """

    def __init__(self, values: Iterable[SecretStr] = ()) -> None:
        forms: set[str] = set()
        for value in values:
            for line in value.get_secret_value().splitlines():
                forms |= _forms(line.strip())
        # Longest first, so that a secret which contains another leaves no tail.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Give the text with the secrets masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _forms(secret: str) -> set[str]:
    if len(secret) < SHORTEST_SECRET:
        return set()
    forms = {secret, *_url_forms(secret)}
    # Git sends a token as the password of this user name; base64 of the pair is the token too.
    for text in (secret, f"x-access-token:{secret}"):
        forms |= _base64_forms(text.encode())
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


def _url_forms(secret: str) -> set[str]:
    """Give the URL encodings; curl and browsers write %2F, git writes %2f."""
    forms = {quote(secret, safe=""), quote_plus(secret), quote(secret)}
    return forms | {ESCAPED.sub(lambda found: found[0].lower(), form) for form in forms}


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
