"""Checks input against a pydantic model, and turns pydantic's errors into mistakes. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from jobs.errors import WHOLE_INPUT, ConfigurationError, Mistake

MOST_MISTAKES, LONGEST_PLACE = 100, 200
# What pydantic puts in a place after a mapping's key where the key itself is wrong.
KEY = "[key]"
# What some kinds of pydantic's errors are called here.
WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "is required",
    "tuple_type": "Input should be a valid list",  # what a caller sends is one
}
LENGTHS = frozenset({"too_short", "too_long"})

# The kind of pydantic's error about a default that depends on fields of which one is wrong.
DEPENDS_ON_OTHERS = "default_factory_not_called"

Input = TypeVar("Input", bound=BaseModel)


def parse_input(wanted: type[Input], data: object, *, is_text: bool = False) -> Input:
    """Check what somebody typed.

    Args:
        is_text: it comes from where everything is text: a form, a query, a command line. Then
            numbers are read from it; else only a number is one.

    Raises:
        ConfigurationError: with every mistake.
    """
    try:
        return wanted.model_validate(data, strict=False if is_text else None)
    except ValidationError as exc:
        raise ConfigurationError(*mistakes_of(exc)) from None


def mistakes_of(exc: ValidationError, words: Mapping[str, str] = WORDS) -> list[Mistake]:
    """Give pydantic's errors as mistakes, without quoting a value.

    Args:
        words: the messages by pydantic's kind of error; other kinds keep pydantic's message.
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
    """Cut a path: a name that nobody knows may be as long as the whole body."""
    parts: list[int | str] = []
    room = LONGEST_PLACE
    for part in path:
        if room < 0:
            break
        parts.append(part if len(str(part)) <= room else str(part)[:room])
        room -= len(str(part)) + 1
    return parts
