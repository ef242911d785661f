"""Forms: their fields, parsing of what a browser sends, and redrawing of refused forms. Pure.

`text_of` writes a value into a field. `data_of` parses a sent form into the input of the API's own
models, and gives every value back as it was. This module reports only text that it cannot parse;
the models validate everything else.

A form may be open for a long time, so a hidden field says which values it showed. Fields that the
user did not change are left alone, and a change that somebody else made meanwhile is not
overwritten without a warning.
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
ON, OFF = "true", "false"
QUOTE = '"'
# The hidden field with the texts of the other fields when the form was drawn, as JSON. It is one
# field for all of them, because it must distinguish an empty field from one that was not drawn, and
# because browsers change line breaks, which JSON escapes.
DRAWN = "drawn"
MOST_FIELDS = 100
LONGEST_SAID = 200
NOT_READABLE = (
    f"begins with {QUOTE}, so it must be a whole JSON string, "
    r'like "two\nlines"; a quotation mark inside is \"'
)
BREAK = re.compile(r"[\r\n]")
_DRAWN: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
# Unlike the standard library's parser, this one refuses lone surrogates, which cannot be stored.
_STRING: TypeAdapter[str] = TypeAdapter(str)


class Kind(StrEnum):
    """How a field is drawn and read."""

    LINE = "line"
    NUMBER = "number"
    CHOICE = "choice"
    SWITCH = "switch"
    LIST = "list"  # one entry per line
    PAIRS = "pairs"  # NAME=value, one per line
    TEXT = "text"  # unchanged, with line breaks
    MASKED_TEXT = "masked_text"  # the same, shown as dots
    SECRET = "secret"  # noqa: S105 — one line, never drawn again
    SECRET_TEXT = "secret_text"  # noqa: S105 — several lines, never drawn again


SECRETS = frozenset({Kind.SECRET, Kind.SECRET_TEXT})
MASKED_TEXTS = frozenset({Kind.SECRET_TEXT, Kind.MASKED_TEXT})


@dataclass(frozen=True)
class Field:
    """One field of a form, named as the API names it.

    Attributes:
        may_be_none: whether an empty field means None instead of an empty text.
        choices: for a choice, each value with its label.
        start: the initial text of the field in a new form.
        secret_unless: the name of the field whose value `false` says that this one is no secret.
    """

    name: str
    label: str
    kind: Kind = Kind.LINE
    hint: str = ""
    may_be_none: bool = False
    choices: Sequence[tuple[str, str]] = ()
    start: str = ""
    autocomplete: str = "off"
    secret_unless: str = ""

    @property
    def is_masked_text(self) -> bool:
        """Whether it is drawn as several lines of dots."""
        return self.kind in MASKED_TEXTS

    def is_secret(self, texts: Texts) -> bool:
        """Whether the typed text must not be drawn again."""
        may_be = bool(self.secret_unless) and texts.get(self.secret_unless) != OFF
        return self.kind in SECRETS or may_be


@dataclass(frozen=True)
class Filled:
    """A refused form with its texts and problems; without arguments, a form that was not sent.

    Attributes:
        do: which of the page's forms it is.
        subject: the object that the form is about, such as a user or a domain.
        problems: error messages by the name of their field; "" for the form as a whole.
        is_forgetful: a secret was typed, which is not drawn again.
    """

    do: str = ""
    subject: str = ""
    texts: Texts = field(default_factory=dict)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    status: int = 200
    is_forgetful: bool = False

    def of(self, do: str, subject: str = "") -> "Filled":
        """Give itself if it is that form, else a form that was not sent."""
        return self if (self.do, self.subject) == (do, subject) else UNTOUCHED

    def text(self, one: Field, present: str | None = None) -> str:
        """Give the text of a field: the typed text, else the stored value, else its start."""
        if one.is_secret(self.texts):
            return ""
        if self.do:
            return self.texts.get(one.name, "")
        return one.start if present is None else present

    def drawn(self, present: Texts) -> dict[str, str]:
        """Give the hidden field of shown values; a redrawn form keeps that of its first drawing."""
        return {DRAWN: self.texts.get(DRAWN) or said_drawn(present)}


UNTOUCHED = Filled()


def texts_of(body: bytes) -> dict[str, str]:
    """Parse a form as a browser sends it, and leave out empty fields.

    Raises:
        ValueError: the body is not a form.
    """
    return dict(parse_qsl(body.decode(), max_num_fields=MOST_FIELDS, errors="strict"))


def has_secrets(fields: Sequence[Field], texts: Texts) -> bool:
    """Whether secrets were typed into some of the fields."""
    return any(one.is_secret(texts) and texts.get(one.name) for one in fields)


def text_of(value: object) -> str:
    """Give the text of a field for a value of the API."""
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
    """Write a text as one line; as a JSON string if it would not be parsed back unchanged."""
    is_plain = text and text == text.strip() and text[0] != QUOTE and not BREAK.search(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def said_drawn(present: Texts) -> str:
    """Encode the texts of a form's fields for its hidden field."""
    return json.dumps(dict(present), ensure_ascii=False)


def drawn_of(texts: Texts) -> dict[str, str] | None:
    """Decode the texts of the fields when the form was drawn; None: it has no hidden field.

    Raises:
        ValueError: the hidden field is malformed; no page of ours sends such a one.
    """
    held = texts.get(DRAWN)
    return None if held is None else _DRAWN.validate_json(held)


def touched(fields: Sequence[Field], texts: Texts) -> list[Field]:
    """Give the fields that the user changed; all fields if the form has no hidden field."""
    drawn = drawn_of(texts)
    if drawn is None:
        return list(fields)
    return [
        one for one in fields if _plain(texts.get(one.name, "")) != _plain(drawn.get(one.name, ""))
    ]


def overtaken(fields: Sequence[Field], texts: Texts, present: Texts) -> list[Field]:
    """Give the fields that the user and, meanwhile, somebody else have changed differently."""
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
    """Give the text of a field for use in a sentence."""
    match one.kind:
        case Kind.SWITCH:
            return "on" if text == ON else "off"
        case Kind.CHOICE:
            return f"“{dict(one.choices).get(text, text)}”"
        case _:
            words = ", ".join(_entries(text)) or "empty"
            return words if len(words) <= LONGEST_SAID else f"{words[:LONGEST_SAID]}…"


def data_of(fields: Sequence[Field], texts: Texts) -> dict[str, object]:
    """Parse a sent form into input for the API; a missing field was left empty."""
    return {one.name: _value(one, texts.get(one.name, "")) for one in fields}


def not_readable(fields: Sequence[Field], texts: Texts) -> list[Mistake]:
    """Give a mistake for each line that cannot be parsed, like those of the API's models."""
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
    # `not_readable` reports the lines that cannot be parsed.
    return [_read(line) or "" for line in _entries(text)]


def _read(line: str) -> str | None:
    """Parse a line, written by `_line_of` or by hand; None: it is not a valid JSON string."""
    if not line.startswith(QUOTE):
        return line
    try:
        return _STRING.validate_json(line)
    except ValidationError:
        return None


def sorted_out(mistakes: Sequence[Mistake], fields: Sequence[Field]) -> dict[str, list[str]]:
    """Group mistakes by their fields, as text; "" has those without a field of this form."""
    known = {one.name for one in fields}
    found: dict[str, list[str]] = {}
    for mistake in mistakes:
        if mistake.field in known:
            found.setdefault(mistake.field, []).append(_told(mistake))
        else:
            found.setdefault("", []).append(str(mistake))
    return found


def _told(mistake: Mistake) -> str:
    """Give the message of a mistake for use beside its field."""
    match mistake.index:
        case None:
            return mistake.message
        case int():
            return f"entry {mistake.index + 1}: {mistake.message}"
        case _:
            rest = (each for each in mistake.rest if each != KEY)
            return f"{'.'.join(map(str, (mistake.index, *rest)))}: {mistake.message}"
