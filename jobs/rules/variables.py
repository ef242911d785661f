"""The environment variables of an app: valid names and values, and `.env` files. Pure."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dotenv.parser import Binding, Original, parse_stream
from pydantic import SecretStr

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.mistakes import MOST_MISTAKES
from jobs.rules.naming import VARIABLE_NAME, VARIABLE_NAME_WORDS
from jobs.rules.secret_values import looks_secret
from jobs.rules.text import is_utf8, plain_file, shown_name

LARGEST_VALUE = 64 * 1024
MOST_VARIABLES = 500
SHOWN_NAME = 50  # characters of a wrong name in an error message
# Keystone sets these itself; other values would be wrong, or make health checks use a wrong port.
RESERVED = frozenset({"PORT", "KEYSTONE_APP", "KEYSTONE_COMMIT", "KEYSTONE_RELEASE"})


@dataclass(frozen=True)
class Variable:
    """A variable's value; the value of a secret is never shown again."""

    value: SecretStr
    is_secret: bool = True


@dataclass(frozen=True)
class NewValue:
    """A value for a variable.

    Attributes:
        is_secret: None if nobody has said: an existing variable keeps its kind, and a new one is a
            secret if it looks like one.
    """

    value: SecretStr
    is_secret: bool | None = None

    def resolved(self, name: str, *, before: bool | None) -> Variable:
        """Decide whether the variable is a secret.

        Args:
            before: whether the existing variable of this name is one; None if there is none.
        """
        kind = self.is_secret if self.is_secret is not None else before
        if kind is None:
            kind = looks_secret(name, self.value.get_secret_value())
        return Variable(self.value, kind)


Environment = Mapping[str, Variable]


def ensure_variable(name: str, value: SecretStr) -> None:
    """Refuse an invalid environment variable; the message never quotes the value.

    Raises:
        ConfigurationError: the name or the value is invalid.
    """
    if not VARIABLE_NAME.fullmatch(name):
        raise ConfigurationError(
            Mistake("variable", VARIABLE_NAME_WORDS, called=repr(name[:SHOWN_NAME]))
        )
    if name in RESERVED:
        raise ConfigurationError(Mistake("variable", "Keystone sets this one itself", called=name))
    if told := _value_problem(value.get_secret_value()):
        raise ConfigurationError(Mistake("value", told, called=name))


def _value_problem(plain: str) -> str:
    if "\0" in plain:
        return "a value cannot hold a zero byte"
    if not is_utf8(plain):
        return "the value is not text in UTF-8"
    if len(plain.encode()) > LARGEST_VALUE:
        return f"a value may have at most {LARGEST_VALUE} bytes"
    return ""


def parse_env_file(text: str) -> dict[str, SecretStr]:
    """Parse a `.env` file, without expanding variables in values; the last value of a name counts.

    Raises:
        ConfigurationError: lists every mistake with its line: a line that cannot be parsed, a name
            without a value, an invalid name or value.
    """
    found: dict[str, SecretStr] = {}
    mistakes: list[str] = []
    for line in parse_stream(io.StringIO(plain_file(text))):
        if told := _mistakes_of(line):
            mistakes += (f"line {_line_number(line.original)}: {each}" for each in told)
        elif line.key is not None:
            found[line.key] = SecretStr(line.value or "")
        if len(mistakes) >= MOST_MISTAKES:
            mistakes.append("and the rest of the file was not read")
            break
    if mistakes:
        raise ConfigurationError(*mistakes)
    return found


def _mistakes_of(line: Binding) -> Sequence[str]:
    if line.error:
        # Quote nothing: an unreadable line may hold a secret.
        return ["is not NAME=value"]
    if line.key is None:
        return []
    if line.value is None:
        # `docker run --env-file` would take the value from its own environment.
        shown = shown_name(line.key[:SHOWN_NAME])
        return [f"{shown} has no value; write {shown}= if it is to be empty"]
    try:
        ensure_variable(line.key, SecretStr(line.value))
    except ConfigurationError as exc:
        return exc.problems
    return []


def _line_number(found: Original) -> int:
    # The parser counts the empty lines before a line as part of it.
    empty = found.string[: len(found.string) - len(found.string.lstrip())]
    return found.line + empty.count("\n")


def secrets_of(variables: Iterable[Variable]) -> list[SecretStr]:
    """List the values that logs must not show."""
    return [variable.value for variable in variables if variable.is_secret]
