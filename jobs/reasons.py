"""Why a deployment ended, in one sentence that is safe to show and short enough to read. Pure.

A reason may quote what came from outside: a step of a Dockerfile with its build arguments filled
in, a program's own words. So the order matters. First goes what plays tricks, as such a character
could hide a secret; then the secrets; and cut is last, as half a secret would not be recognised.
"""

import re

from jobs.logs import plain
from jobs.redaction import Redactor

# Characters of what a reason quotes, before anything in it is masked: far more than a secret has.
LONGEST_QUOTED = 64 * 1024
LONGEST_REASON = 640  # characters
BEGINNING = 240  # of them kept from a longer one; the rest is its end, where the cause stands


def one_line(text: str) -> str:
    """Give a text on one line, bounded, and with nothing inside its lines changed: see above."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))[:LONGEST_QUOTED]


def shown_reason(reason: str, redact: Redactor) -> str:
    """Give a reason as it may be shown to anybody."""
    return shortened(re.sub("[ \t]+", " ", redact(plain(reason))))


def shortened(reason: str) -> str:
    """Give a reason at a length that people read; its secrets must be masked by now."""
    if len(reason) <= LONGEST_REASON:
        return reason
    end = LONGEST_REASON - BEGINNING - len(" … ")
    return f"{reason[:BEGINNING].rstrip()} … {reason[-end:].lstrip()}"
