"""The environment variables of an app: valid names and values, and `.env` files. Pure."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dotenv.parser import Original, parse_stream
from pydantic import SecretStr

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.naming import VARIABLE_NAME

LARGEST_VALUE = 64 * 1024
MOST_VARIABLES = 500
# Keystone sets these itself; other values would be wrong, or make health checks use a wrong port.
RESERVED = frozenset({"PORT", "KEYSTONE_APP", "KEYSTONE_COMMIT", "KEYSTONE_RELEASE"})


@dataclass(frozen=True)
class Variable:
    """A variable's value; the value of a secret is never shown again."""

    value: SecretStr
    is_secret: bool = True


Environment = Mapping[str, Variable]


def ensure_variable(name: str, value: SecretStr) -> None:
    """Refuse an invalid environment variable; the message never quotes the value.

    Raises:
        ConfigurationError: the name or the value is invalid.
    """
    if not VARIABLE_NAME.fullmatch(name):
        told = (
            "a variable's name has letters, digits and underscores, and does not begin with a digit"
        )
        raise ConfigurationError(Mistake("variable", told, called=repr(name[:50])))
    if name in RESERVED:
        raise ConfigurationError(Mistake("variable", "Keystone sets this one itself", called=name))
    plain = value.get_secret_value()
    if "\0" in plain:
        told = "a value cannot hold a zero byte"
        raise ConfigurationError(Mistake("value", told, called=name))
    if len(plain.encode()) > LARGEST_VALUE:
        told = f"a value may have at most {LARGEST_VALUE} bytes"
        raise ConfigurationError(Mistake("value", told, called=name))


def parse_env_file(text: str) -> dict[str, SecretStr]:
    """Parse a `.env` file, without expanding variables in values.

    Raises:
        ConfigurationError: a line cannot be parsed, has a name without a value, or an invalid name.
    """
    lines = list(parse_stream(io.StringIO(text)))
    # Report only the line numbers: an unreadable line may hold a secret.
    if broken := [_line_number(line.original) for line in lines if line.error]:
        raise ConfigurationError(*(f"line {number}: is not NAME=value" for number in broken))
    found = {line.key: line.value for line in lines if line.key is not None}
    if missing := [name for name, value in found.items() if value is None]:
        raise ConfigurationError(*(Mistake(name[:50], "has no value") for name in missing))
    values = {name: SecretStr(value or "") for name, value in found.items()}
    for name, value in values.items():
        ensure_variable(name, value)
    return values


def _line_number(found: Original) -> int:
    # The parser counts the empty lines before a line as part of it.
    empty = found.string[: len(found.string) - len(found.string.lstrip())]
    return found.line + empty.count("\n")


def secrets_of(variables: Iterable[Variable]) -> list[SecretStr]:
    """List the values that logs must not show."""
    return [variable.value for variable in variables if variable.is_secret]
