"""JSON, strictly: UTF-8, no name twice in an object, no NaN, no endless depth. Pure."""

import json
from typing import Any, NoReturn

MOST_DIGITS = 1000


def strict_json(raw: bytes) -> Any:  # noqa: ANN401 — it may be anything that JSON can say
    """Read JSON.

    Raises:
        ValueError: it is not JSON, or not of the strict kind; the message says what is wrong.
    """
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
        )
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as exc:
        raise ValueError(f"it is not JSON: {exc.msg} at character {exc.pos}") from None


def ensure_storable(data: object, *, most_names: int) -> None:
    """Make sure that something read as JSON can be kept, and is no flood of names.

    Raises:
        ValueError: an object at its top has more names than that, or a text holds half a character.
    """
    # Checking each of a hundred thousand names that nobody knows would take a second.
    if isinstance(data, dict) and len(data) > most_names:
        raise ValueError(f"it has more than {most_names} fields")
    try:
        # JSON can say half a character (`"\ud800"`); UTF-8, and so everything we keep, cannot.
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Two readers of the same bytes could each believe the other one's value.
        raise ValueError("an object has the same name twice")
    return found


def _whole_number(digits: str) -> int:
    # Python itself refuses to read more than 4,300, with a sentence for programmers.
    if len(digits) > MOST_DIGITS:
        raise ValueError("a number has too many digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
