"""Forms: their fields, what a browser sends for them, and what is drawn when it was refused. Pure.

Text travels both ways: `text_of` writes a value into a field, `data_of` reads a sent form for the
same models that the API checks its input with. Nothing is judged here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl

Texts = Mapping[str, str]
ON = "true"
WAS = "was-"  # before the name of a field: what stood in it when the form was drawn
MOST_FIELDS = 100


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
        case None | False:
            return ""
        case True:
            return ON
        case Mapping():
            return "\n".join(f"{name}={held}" for name, held in value.items())
        case list() | tuple():
            return "\n".join(map(str, value))
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def touched(fields: Sequence[Field], texts: Texts) -> list[Field]:
    """Choose the fields somebody changed; of a form that does not say what it showed, all."""
    if not _says_what_was(texts):
        return list(fields)
    plain = {name: _plain(text) for name, text in texts.items()}
    return [one for one in fields if plain.get(WAS + one.name, "") != plain.get(one.name, "")]


def drawn(present: Texts, texts: Texts) -> dict[str, str]:
    """Give what a form is to say of what it showed, which stays what it showed at first."""
    if _says_what_was(texts):
        present = {name: texts.get(WAS + name, "") for name in present}
    return {WAS + name: text for name, text in present.items()}


def _says_what_was(texts: Texts) -> bool:
    return any(name.startswith(WAS) for name in texts)


def data_of(fields: Sequence[Field], texts: Texts) -> dict[str, object]:
    """Read a sent form as the API would be sent it; a field that is missing was left empty."""
    return {one.name: _value(one, texts.get(one.name, "")) for one in fields}


def _value(one: Field, text: str) -> object:
    plain = _plain(text)
    match one.kind:
        case Kind.SWITCH:
            return plain == ON
        case Kind.LIST:
            return _lines(plain) or (None if one.may_be_none else [])
        case Kind.PAIRS:
            pairs = [line.partition("=") for line in _lines(plain)]
            return {name.strip(): held for name, _, held in pairs}
        case Kind.TEXT | Kind.MASKED_TEXT | Kind.SECRET | Kind.SECRET_TEXT:
            return plain or (None if one.may_be_none else "")
        case _:
            return plain.strip() or (None if one.may_be_none else "")


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def sorted_out(sentences: Sequence[str], fields: Sequence[Field]) -> dict[str, list[str]]:
    """Put sentences like `field.1: what is wrong` beside the fields they are about."""
    known = {one.name for one in fields}
    found: dict[str, list[str]] = {}
    for sentence in sentences:
        place, _, words = sentence.partition(": ")
        name, _, part = place.partition(".")
        if words and name in known:
            found.setdefault(name, []).append(_told(part, words))
        else:
            found.setdefault("", []).append(sentence)
    return found


def _told(part: str, words: str) -> str:
    if part.isdecimal():
        return f"entry {int(part) + 1}: {words}"
    return f"{part.removesuffix('.[key]')}: {words}" if part else words
