"""Forms: their fields, what a browser sends for them, and what is drawn when it was refused. Pure.

Text travels both ways: `text_of` writes a value into a field, `data_of` reads a sent form for the
same models that the API checks its input with, and gives every value back as it was. Nothing is
judged here but what cannot be read.

A form lies open for a while, so it says what it showed: what nobody touched in it is left alone,
and what somebody else has changed meanwhile is not undone unseen.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from jobs.errors import Mistake
from jobs.rules.mistakes import KEY

Texts = Mapping[str, str]
ON = "true"
QUOTE = '"'
# The hidden field that says, as JSON, what stood in the others when the form was drawn. One for
# all: a field that was empty must be told from one that was not drawn, and browsers change line
# breaks, which JSON does not hold.
DRAWN = "drawn"
MOST_FIELDS = 100
LONGEST_SAID = 200
NOT_READABLE = (
    f"begins with {QUOTE}, so it must be a whole JSON string, "
    r'like "two\nlines"; a quotation mark inside is \"'
)
BREAK = re.compile(r"[\r\n]")
_DRAWN: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
# Unlike the standard library's, this one refuses half a character, which nothing can keep.
_STRING: TypeAdapter[str] = TypeAdapter(str)


class Kind(StrEnum):
    """How a field is drawn and read."""

    LINE = "line"
    NUMBER = "number"
    CHOICE = "choice"
    SWITCH = "switch"
    LIST = "list"  # one entry a line
    PAIRS = "pairs"  # NAME=value, one a line
    TEXT = "text"  # as it is, line breaks and all
    MASKED_TEXT = "masked_text"  # the same, for nobody to read over a shoulder
    SECRET = "secret"  # noqa: S105 — one line, never drawn again
    SECRET_TEXT = "secret_text"  # noqa: S105 — many lines, never drawn again


SECRETS = frozenset({Kind.SECRET, Kind.SECRET_TEXT})
MASKED_TEXTS = frozenset({Kind.SECRET_TEXT, Kind.MASKED_TEXT})


@dataclass(frozen=True)
class Field:
    """One field of a form, named as the API names it.

    Attributes:
        may_be_none: whether an empty field means none, and not an empty text.
        choices: of a choice, each word with how it is said.
        start: what stands in the field when nobody has said anything yet.
        secret_if: the switch that makes it a secret.
    """

    name: str
    label: str
    kind: Kind = Kind.LINE
    hint: str = ""
    may_be_none: bool = False
    choices: Sequence[tuple[str, str]] = ()
    start: str = ""
    autocomplete: str = "off"
    secret_if: str = ""

    @property
    def is_masked_text(self) -> bool:
        """Whether it is drawn as many lines of dots."""
        return self.kind in MASKED_TEXTS

    def is_secret(self, texts: Texts) -> bool:
        """Whether what was typed must not be drawn again."""
        return self.kind in SECRETS or texts.get(self.secret_if) == ON


@dataclass(frozen=True)
class Filled:
    """A form as somebody sent it, and why it was refused; by itself: nobody sent one.

    Attributes:
        do: which of the page's forms it is.
        subject: what of several alike it is about: a user, a domain.
        problems: sentences by the name of the field they are about; "" for the form as a whole.
        is_forgetful: a secret was typed, which is not drawn again.
    """

    do: str = ""
    subject: str = ""
    texts: Texts = field(default_factory=dict)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    status: int = 200
    is_forgetful: bool = False

    def of(self, do: str, subject: str = "") -> "Filled":
        """Give itself if it is that form, else a form that nobody has sent."""
        return self if (self.do, self.subject) == (do, subject) else UNTOUCHED

    def text(self, one: Field, present: str | None = None) -> str:
        """Give what stands in a field: what was typed, else what is, else its start."""
        if one.is_secret(self.texts):
            return ""
        if self.do:
            return self.texts.get(one.name, "")
        return one.start if present is None else present

    def drawn(self, present: Texts) -> dict[str, str]:
        """Give the hidden field of what the form shows; drawn again, it showed that at first."""
        return {DRAWN: self.texts.get(DRAWN) or said_drawn(present)}


UNTOUCHED = Filled()


def texts_of(body: bytes) -> dict[str, str]:
    """Read a form as a browser sends it; a field left empty is a field not given.

    Raises:
        ValueError: it is none.
    """
    return dict(parse_qsl(body.decode(), max_num_fields=MOST_FIELDS, errors="strict"))


def has_secrets(fields: Sequence[Field], texts: Texts) -> bool:
    """Whether secrets were typed into some of the fields."""
    return any(one.is_secret(texts) and texts.get(one.name) for one in fields)


def text_of(value: object) -> str:
    """Write a value of the API's into a field."""
    match value:
        case None | False | "":
            return ""
        case True:
            return ON
        case Mapping():
            return "\n".join(_line_of(f"{name}={held}") for name, held in value.items())
        case list() | tuple():
            return "\n".join(_line_of(str(one)) for one in value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return _line_of(str(value))


def _line_of(text: str) -> str:
    """Write one text as one line; as a JSON string what would not be read back as it is."""
    is_plain = text and text == text.strip() and text[0] != QUOTE and not BREAK.search(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def said_drawn(present: Texts) -> str:
    """Say what stands in the fields of a form, for the form to bring back."""
    return json.dumps(dict(present), ensure_ascii=False)


def drawn_of(texts: Texts) -> dict[str, str] | None:
    """Read what stood in the fields when the form was drawn; None: it does not say.

    Raises:
        ValueError: it says so in a way that no page of ours does.
    """
    held = texts.get(DRAWN)
    return None if held is None else _DRAWN.validate_json(held)


def touched(fields: Sequence[Field], texts: Texts) -> list[Field]:
    """Choose the fields somebody changed; of a form that does not say what it showed, all."""
    drawn = drawn_of(texts)
    if drawn is None:
        return list(fields)
    return [
        one for one in fields if _plain(texts.get(one.name, "")) != _plain(drawn.get(one.name, ""))
    ]


def overtaken(fields: Sequence[Field], texts: Texts, present: Texts) -> list[Field]:
    """Choose the fields somebody changed, that somebody else changed otherwise meanwhile."""
    drawn = drawn_of(texts)
    if drawn is None:
        return []
    return [
        one
        for one in touched(fields, texts)
        if present[one.name] != drawn.get(one.name, "")
        and _value(one, present[one.name]) != _value(one, texts.get(one.name, ""))
    ]


def said(one: Field, text: str) -> str:
    """Say what stands in a field, within a sentence."""
    match one.kind:
        case Kind.SWITCH:
            return "on" if text == ON else "off"
        case Kind.CHOICE:
            return f"“{dict(one.choices).get(text, text)}”"
        case _:
            words = ", ".join(_entries(text)) or "empty"
            return words if len(words) <= LONGEST_SAID else f"{words[:LONGEST_SAID]}…"


def data_of(fields: Sequence[Field], texts: Texts) -> dict[str, object]:
    """Read a sent form as the API would be sent it; a field that is missing was left empty."""
    return {one.name: _value(one, texts.get(one.name, "")) for one in fields}


def not_readable(fields: Sequence[Field], texts: Texts) -> list[Mistake]:
    """Give the lines that cannot be read as mistakes, like those of the API's models."""
    return [
        Mistake(one.name, NOT_READABLE, index)
        for one in fields
        for index, line in _numbered(one, texts.get(one.name, ""))
        if _read(line) is None
    ]


def _numbered(one: Field, text: str) -> list[tuple[int | None, str]]:
    match one.kind:
        case Kind.LIST | Kind.PAIRS:
            return list(enumerate(_entries(text)))
        case Kind.LINE:
            return [(None, text.strip())]
        case _:
            return []


def _value(one: Field, text: str) -> object:
    match one.kind:
        case Kind.SWITCH:
            return text == ON
        case Kind.LIST:
            return _lines(text) or (None if one.may_be_none else [])
        case Kind.PAIRS:
            pairs = [line.partition("=") for line in _lines(text)]
            return {name.strip(): held for name, _, held in pairs}
        case Kind.TEXT | Kind.MASKED_TEXT | Kind.SECRET | Kind.SECRET_TEXT:
            return _plain(text) or (None if one.may_be_none else "")
        case Kind.LINE:
            return _read(text.strip()) or (None if one.may_be_none else "")
        case _:
            return text.strip() or (None if one.may_be_none else "")


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _entries(text: str) -> list[str]:
    return [line.strip() for line in _plain(text).split("\n") if line.strip()]


def _lines(text: str) -> list[str]:
    # What cannot be read is told of by `not_readable`.
    return [_read(line) or "" for line in _entries(text)]


def _read(line: str) -> str | None:
    """Read a line that `_line_of` has written, or somebody by hand; None: nobody can."""
    if not line.startswith(QUOTE):
        return line
    try:
        return _STRING.validate_json(line)
    except ValidationError:
        return None


def sorted_out(mistakes: Sequence[Mistake], fields: Sequence[Field]) -> dict[str, list[str]]:
    """Put mistakes beside the fields they are about, in words."""
    known = {one.name for one in fields}
    found: dict[str, list[str]] = {}
    for mistake in mistakes:
        if mistake.field in known:
            found.setdefault(mistake.field, []).append(_told(mistake))
        else:
            found.setdefault("", []).append(str(mistake))
    return found


def _told(mistake: Mistake) -> str:
    """Say what is wrong within a field."""
    match mistake.index:
        case None:
            return mistake.message
        case int():
            return f"entry {mistake.index + 1}: {mistake.message}"
        case _:
            rest = (each for each in mistake.rest if each != KEY)
            return f"{'.'.join(map(str, (mistake.index, *rest)))}: {mistake.message}"
