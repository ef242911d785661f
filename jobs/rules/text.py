"""What of a text from outside may be shown, and on how many lines. Pure.

Build steps, apps, commits, senders, file names and servers can put characters into a text that a
reader does not see but a terminal or a browser obeys: escape sequences, control characters, marks
of writing direction, characters without width. This module is the only place that names them.

Source: https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point and ECMA-48, sections 5
and 8.3 (read 2026-11-24).
"""

import re
from datetime import datetime

MARK = "\ufffd"  # stands for what was left out, where two texts must not look alike
FIRST_PAIR = 0x10000  # from here on JSON writes a character as two halves

LINE_END = re.compile(r"\r\n|\r|\n")
STYLE = re.compile(r"\x1b\[([0-9;]{0,64})m")  # SGR, the one kind of sequence that only styles text

# --- Escape sequences: what stands behind the character that begins one -------------------------

# Titles, links, clipboard and device strings, with their end.
_STRING = r"[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
# Styles, cursor movements and the like. One that breaks off counts: a terminal waits for its rest.
_PARAMETERS = r"[0-?]*[ -/]*[@-~]?"
_SEQUENCES = (
    rf"(?<=\x1b)(?:[\]PX^_]{_STRING}|\[{_PARAMETERS}|[ -/]*[0-~]?)",
    # The same by one character.
    rf"(?<=[\x90\x98\x9d-\x9f]){_STRING}",
    rf"(?<=\x9b){_PARAMETERS}",
)
# --- Characters --------------------------------------------------------------------------------

# Controls but \t and \n, what Unicode calls default-ignorable, the ends of lines and paragraphs,
# marks of interlinear notes, halves of characters and what is no character.
_HIDDEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"
    r"\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0"
    r"\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Joiners decide how letters of these scripts are written (Arabic, the Indic ones, Mongolian), and
# make one picture of several; elsewhere nobody sees them.
_JOINERS = r"\u200c\u200d"
_JOINED = r"\u0600-\u109f\u1780-\u18af\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_LOOKS = r"\ufe0e\ufe0f"  # whether a sign is drawn as text or as a picture
_PICTURES = r"\xa9\xae\u203c-\u3299\U0001f000-\U0001faff"
_MISPLACED = (
    rf"(?<=[{_JOINERS}])(?:(?<![{_JOINED}].)|(?![{_JOINED}]))",
    rf"(?<=[{_LOOKS}])(?<![{_PICTURES}].)(?!\u20e3)",
)
# More accents on a letter than any language has: they would cover the lines above and below.
_ACCENTS = (
    r"\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a"
    r"\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff"
    r"\ufe20-\ufe2f"
)
_PILED = re.compile(rf"[{_ACCENTS}](?<=[{_ACCENTS}]{{5}})[{_ACCENTS}]*")

# Everything in a text that must not be shown. It begins with one class of characters, which is
# searched for many times as fast as alternatives are tried.
TRICKS = re.compile(
    rf"[{_HIDDEN}{_JOINERS}{_LOOKS}]"
    rf"(?:{'|'.join((*_SEQUENCES, f'(?<=[{_HIDDEN}])', *_MISPLACED))})",
    re.DOTALL,
)
# The same and the joiners and looks that stay: texts that look alike are equal without them.
UNSEEN = re.compile(
    rf"[{_HIDDEN}{_JOINERS}{_LOOKS}](?:{'|'.join(_SEQUENCES)}|(?<=[{_HIDDEN}{_JOINERS}{_LOOKS}]))"
)
# In JSON they stand for themselves, and a terminal obeys them.
_OBEYED = re.compile(rf"[{_HIDDEN}{_JOINERS}]")


def plain(text: str) -> str:
    """Give a text without styles and tricks: its words alone. Tabs and line ends stay."""
    return text if is_printable(text) else unpiled(TRICKS.sub("", text))


def one_line(text: str, *, instead: str = "") -> str:
    """Give a text on one line, its words one space apart, without styles and tricks.

    Args:
        instead: what to put in the place of each trick.
    """
    # First: line ends of all kinds become spaces, and words do not run together.
    flat = " ".join(text.split())
    if is_printable(flat):
        return flat
    return " ".join(unpiled(TRICKS.sub(instead, flat)).split())


def unpiled(text: str) -> str:
    """Give a text without the accents that are too many on one letter."""
    return text if text.isascii() else _PILED.sub("", text)


def shown_name(text: str) -> str:
    """Give a name on one line; what is left out is marked, so that it passes for no other name."""
    return one_line(text, instead=MARK)


def first_words(text: str, most: int) -> str:
    """Give the beginning of a text, at most so many characters, and no word of it in part.

    So nothing is shown of a token that is masked later, where it stands whole.
    """
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0]


def several_lines(text: str) -> str:
    """Give a text without styles and tricks, all line ends alike."""
    return plain(LINE_END.sub("\n", text))


def bare(text: str) -> str:
    """Give what of a text can be seen, for comparing: two texts that look alike are equal."""
    return text if is_printable(text) else UNSEEN.sub("", text)


def is_printable(text: str) -> bool:
    """Whether a text has ASCII characters only, all of them shown: most have, and are told soon."""
    return text.isascii() and text.isprintable()


def safe_json(text: str) -> str:
    """Give JSON that means the same, with escapes for what a terminal would obey."""
    return _OBEYED.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < FIRST_PAIR:
        return f"\\u{number:04x}"
    high, low = divmod(number - FIRST_PAIR, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def moment(at: datetime) -> str:
    """Write the time of a backup as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
