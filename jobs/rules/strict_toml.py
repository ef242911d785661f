"""Parses untrusted TOML, with limits on nesting and on the length of numbers. Pure.

The caller must limit the length of the text: the parser, in Python, takes seconds for a megabyte.
"""

import re
import tomllib
from typing import Any

from jobs.rules.text import BYTE_ORDER_MARK

DEEPEST = 16  # levels of nested tables and arrays, and dots in a key
# Signs that nest, signs that begin the next key or value, and text in which these signs have no
# meaning: strings and comments.
_SIGNS = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*+"{3,5} | \'\'\'(?:[^']|'(?!''))*+'{3,5}
    | "(?:[^"\\\n]|\\[^\n])*+" | '[^'\n]*+' | \#[^\n]*+ | [\[\]{}.,=\n"']''',
    re.DOTALL | re.VERBOSE,
)


def strict_toml(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        ValueError: the text is not TOML, or nested too deeply; the message says what is wrong.
    """
    plain = text.removeprefix(BYTE_ORDER_MARK)
    _ensure_shallow(plain)
    try:
        return tomllib.loads(plain)
    except tomllib.TOMLDecodeError as exc:
        raise ValueError(f"it is not TOML: {exc}") from None
    except ValueError:
        # Python refuses to parse integers of more than 4,300 digits.
        raise ValueError("a number has too many digits") from None


def _ensure_shallow(text: str) -> None:
    """Refuse deep nesting before parsing: the parser's recursion has no limit of its own."""
    depth = dots = 0
    for found in _SIGNS.finditer(text):
        match found[0]:
            case "[" | "{":
                depth, dots = depth + 1, 0
            case "]" | "}":
                depth, dots = depth - 1, 0
            case ".":
                dots += 1
            case "," | "=" | "\n":
                dots = 0
            case '"' | "'":
                return  # an unterminated string: the parser will stop here too
        if depth > DEEPEST or dots > DEEPEST:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"it is nested too deeply (at line {line})")
