"""Checks input against a pydantic model, and turns pydantic's errors into mistakes. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from jobs.errors import WHOLE_INPUT, ConfigurationError, Mistake

MOST_MISTAKES, LONGEST_PLACE = 100, 200
# Pydantic adds this to the location, after a mapping's key, if the key itself is wrong.
KEY = "[key]"
# Our messages for some of pydantic's error types.
WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "is required",
    "tuple_type": "Input should be a valid list",  # callers send lists, which become tuples
}
LENGTHS = frozenset({"too_short", "too_long"})

# Pydantic's error type for a default that depends on other fields, one of which is wrong.
DEPENDS_ON_OTHERS = "default_factory_not_called"

Input = TypeVar("Input", bound=BaseModel)


def parse_input(wanted: type[Input], data: object, *, is_text: bool = False) -> Input:
    """Validate input against a model.

    Args:
        is_text: whether the source has only text, like a form, a query or a command line. Then
            numbers are parsed from text; otherwise text is not accepted as a number.

    Raises:
        ConfigurationError: lists every mistake.
    """
    try:
        return wanted.model_validate(data, strict=False if is_text else None)
    except ValidationError as exc:
        raise ConfigurationError(*mistakes_of(exc)) from None


def mistakes_of(exc: ValidationError, words: Mapping[str, str] = WORDS) -> list[Mistake]:
    """Convert pydantic's errors to mistakes, without quoting a value.

    Args:
        words: messages by pydantic's error type; other types keep pydantic's message.
    """
    told = exc.errors(include_input=False, include_url=False)
    errors = [error for error in told if error["type"] != DEPENDS_ON_OTHERS]
    found = [
        _mistake(error["loc"], words.get(error["type"]) or _plain(error["type"], error["msg"]))
        for error in errors[:MOST_MISTAKES]
    ]
    if more := len(errors) - len(found):
        found.append(Mistake(WHOLE_INPUT, f"and {more} mistakes more"))
    return found


def _mistake(path: tuple[int | str, ...], message: str) -> Mistake:
    field, *entry = _bounded(path) or ("",)
    index = entry[0] if entry else None
    return Mistake(str(field) or WHOLE_INPUT, message, index, tuple(entry[1:]))


def _plain(kind: str, message: str) -> str:
    if kind in LENGTHS:
        return message.replace("Tuple", "List", 1)
    return message.removeprefix("Value error, ")


def _bounded(path: tuple[int | str, ...]) -> list[int | str]:
    """Cut a path: the name of an unknown field may be as long as the whole body."""
    parts: list[int | str] = []
    room = LONGEST_PLACE
    for part in path:
        if room < 0:
            break
        parts.append(part if len(str(part)) <= room else str(part)[:room])
        room -= len(str(part)) + 1
    return parts
