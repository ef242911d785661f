"""Removes unsafe characters from outside text, and fits it to one line or several. Pure.

Build steps, apps, commits, senders, file names and servers can put characters into a text that a
reader does not see but a terminal or a browser interprets: escape sequences, control characters,
direction marks, zero-width characters. This module is the only place that lists them.

Source: https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point and ECMA-48, sections 5
and 8.3 (read 2026-11-24).
"""

import re
from datetime import datetime

MARK = "\ufffd"  # replaces removed characters where two texts must not look alike
# Windows programs write it before a text in UTF-8.
BYTE_ORDER_MARK = "\ufeff"
FIRST_PAIR = 0x10000  # from here on, JSON escapes a character as a surrogate pair

LINE_END = re.compile(r"\r\n|\r|\n")
STYLE = re.compile(r"\x1b\[([0-9;]{0,64})m")  # SGR, the only sequence that just styles text

# --- Escape sequences: the part after the introducing character ---------------------------------

# Titles, links, clipboard and device strings, with their terminator.
_STRING = r"[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
# Styles, cursor movements and the like. Incomplete ones count: a terminal waits for the rest.
_PARAMETERS = r"[0-?]*[ -/]*[@-~]?"
_SEQUENCES = (
    rf"(?<=\x1b)(?:[\]PX^_]{_STRING}|\[{_PARAMETERS}|[ -/]*[0-~]?)",
    # The same sequences, introduced by a single C1 control character.
    rf"(?<=[\x90\x98\x9d-\x9f]){_STRING}",
    rf"(?<=\x9b){_PARAMETERS}",
)
# --- Characters --------------------------------------------------------------------------------

# Control characters except \t and \n, Unicode's default-ignorable characters, line and paragraph
# separators, interlinear annotation marks, lone surrogates and noncharacters.
_HIDDEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    r"\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0"
    r"\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners change the form of letters in these scripts (Arabic, Indic scripts, Mongolian), and join
# several emoji into one; elsewhere they are invisible.
_JOINERS = r"\u200c\u200d"
_JOINED = r"\u0600-\u109f\u1780-\u18af\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_LOOKS = r"\ufe0e\ufe0f"  # variation selectors: draw a sign as text or as an emoji
_PICTURES = r"\xa9\xae\u203c-\u3299\U0001f000-\U0001faff"
_MISPLACED = (
    rf"(?<=[{_JOINERS}])(?:(?<![{_JOINED}].)|(?![{_JOINED}]))",
    rf"(?<=[{_LOOKS}])(?<![{_PICTURES}].)(?!\u20e3)",
)
# More combining accents on a letter than any language uses would cover the lines above and below.
_ACCENTS = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a"
    r"\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
    r"\ufe20-\ufe2f"
)
_PILED = re.compile(rf"[{_ACCENTS}](?<=[{_ACCENTS}]{{5}})[{_ACCENTS}]*")

# Everything in a text that must not be shown. The pattern begins with one character class, because
# `re` searches for a class many times faster than it tries alternatives.
TRICKS = re.compile(
    rf"[{_HIDDEN}{_JOINERS}{_LOOKS}]"
    rf"(?:{'|'.join((*_SEQUENCES, f'(?<=[{_HIDDEN}])', *_MISPLACED))})",
    re.DOTALL,
)
# The same, plus the joiners and variation selectors that `TRICKS` keeps. Texts that look alike are
# equal without these.
UNSEEN = re.compile(
    rf"[{_HIDDEN}{_JOINERS}{_LOOKS}](?:{'|'.join(_SEQUENCES)}|(?<=[{_HIDDEN}{_JOINERS}{_LOOKS}]))"
)
# Characters that JSON does not have to escape, but that a terminal interprets.
_OBEYED = re.compile(rf"[{_HIDDEN}{_JOINERS}]")


def plain(text: str) -> str:
    """Remove styles and `TRICKS` from a text; keep tabs and line ends."""
    return text if is_printable(text) else unpiled(TRICKS.sub("", text))


def one_line(text: str, *, instead: str = "") -> str:
    """Put a text on one line, its words one space apart, without styles and `TRICKS`.

    Args:
        instead: the replacement for each match of `TRICKS`.
    """
    # Split first: line ends of all kinds become spaces, so that words are not joined.
    flat = " ".join(text.split())
    if is_printable(flat):
        return flat
    return " ".join(unpiled(TRICKS.sub(instead, flat)).split())


def unpiled(text: str) -> str:
    """Remove the accents that are too many on one letter."""
    return text if text.isascii() else _PILED.sub("", text)


def shown_name(text: str) -> str:
    """Put a name on one line; mark removed characters, so that it looks like no other name."""
    return one_line(text, instead=MARK)


def first_words(text: str, most: int) -> str:
    """Give the whole words at the beginning of a text, at most `most` characters.

    So no part of a token is left that a later step could not recognise and mask.
    """
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0]


def several_lines(text: str) -> str:
    """Remove styles and `TRICKS` from a text, and convert all line ends to LF."""
    return plain(LINE_END.sub("\n", text))


def plain_file(text: str) -> str:
    """Remove what Windows programs write: a byte order mark, and CR before each LF."""
    return LINE_END.sub("\n", text.removeprefix(BYTE_ORDER_MARK))


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8: it holds no byte that Python could not decode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def bare(text: str) -> str:
    """Give the visible part of a text, for comparison: texts that look alike are equal."""
    return text if is_printable(text) else UNSEEN.sub("", text)


def is_printable(text: str) -> bool:
    """Whether a text is all printable ASCII: a quick test that most texts pass."""
    return text.isascii() and text.isprintable()


def safe_json(text: str) -> str:
    """Escape the characters of a JSON text that a terminal would interpret."""
    return _OBEYED.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < FIRST_PAIR:
        return f"\\u{number:04x}"
    high, low = divmod(number - FIRST_PAIR, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def moment(at: datetime) -> str:
    """Format the time of a backup for people."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
