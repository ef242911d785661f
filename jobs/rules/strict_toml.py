"""TOML from somebody else, read without surprises: no endless depth, no numbers of a mile. Pure.

How long the text may be is for the caller to say: a parser in Python takes seconds for a megabyte.
"""

import re
import tomllib
from typing import Any

DEEPEST = 16  # tables and arrays in each other, and the parts of a key with dots
# What can nest, what begins the next key or value, and what hides such signs: strings, comments.
_SIGNS = re.compile(
    r'''"""(?:[^"\\]|\\.|"(?!""))*+"{3,5} | \'\'\'(?:[^']|'(?!''))*+'{3,5}
    | "(?:[^"\\\n]|\\[^\n])*+" | '[^'\n]*+' | \#[^\n]*+ | [\[\]{}.,=\n"']''',
    re.DOTALL | re.VERBOSE,
)


def strict_toml(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        ValueError: it is not TOML, or nested too deeply; the message says what is wrong.
    """
    _ensure_shallow(text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ValueError(f"it is not TOML: {exc}") from None
    except ValueError:
        # Python reads no whole number of more than 4,300 digits.
        raise ValueError("a number has too many digits") from None


def _ensure_shallow(text: str) -> None:
    """Refuse depth before the parser meets it, which goes down as deep as the text says."""
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
                return  # a string without an end: the parser gets no further either
        if depth > DEEPEST or dots > DEEPEST:
            line = text.count("\n", 0, found.start()) + 1
            raise ValueError(f"it is nested too deeply (at line {line})")
