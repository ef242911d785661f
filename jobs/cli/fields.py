"""Makes a command-line option for every field of an app, from the declarations of the fields.

So the command line and the API take the same fields. Values are passed on as typed;
`jobs.rules.app_fields` validates them, for the command line and the API alike.
"""

import inspect
import shlex
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from jobs.cli.console import ask_secret
from jobs.errors import ConfigurationError, Mistake
from jobs.rules.app_fields import AppChange, default_of, field_names, type_of

TOKEN = "token"  # noqa: S105 — the name of a field
COMMAND = "command"
LISTS = (list, tuple)
TOKEN_HELP = "Read the repository's token from standard input, or ask for it."  # noqa: S105


Command = Callable[..., None]


def with_app_fields(*, tells_defaults: bool = False) -> Callable[[Command], Command]:
    """Give a command that takes `**fields` an option for every field of an app.

    `given_fields` converts the options to the fields that the user gave.

    Args:
        tells_defaults: whether the help shows the defaults, which apply to a new app.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [
            _option(name, field, _default(field) if tells_defaults else "")
            for name in field_names()
            if (field := AppChange.model_fields.get(name))
        ]
        # Typer reads the order from the signature, and the types from the annotations.
        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *options]
        )
        command.__annotations__.pop("fields")
        command.__annotations__.update({option.name: option.annotation for option in options})
        return command

    return decorate


def _default(field: FieldInfo) -> str:
    """Give the help text for a default; "" if it is empty, which the description explains."""
    match default_of(field):
        case None | () | [] | {}:
            return ""
        case bool(switch):
            return f" [default: {'on' if switch else 'off'}]"
        case [*words]:
            return f" [default: {', '.join(words)}]"
        case value:
            return f" [default: {value}]"


def _option(name: str, field: FieldInfo, default: str) -> inspect.Parameter:
    flag = name.replace("_", "-")
    told = field.description
    kind: object = str | None
    option = typer.Option(f"--{flag}", help=f"{told}{default}")
    if name == TOKEN:
        kind, option = bool | None, typer.Option("--token-stdin", help=TOKEN_HELP)
    elif type_of(field) is bool:
        kind = bool | None
        option = typer.Option(f"--{flag}/--no-{flag}", help=f"{told}{default}")
    elif name == COMMAND:
        option = typer.Option(f"--{flag}", help=f"{told}; quoted as in a shell{default}")
    elif type_of(field) is dict:
        kind = list[str] | None
        option = typer.Option(f"--{flag}", help=f"{told}; NAME=VALUE, repeated{default}")
    elif type_of(field) in LISTS:
        kind = list[str] | None
        option = typer.Option(f"--{flag}", help=f"{told}; may be repeated{default}")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def given_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields that were set on the command line, in the form that the API takes.

    Raises:
        ConfigurationError: the quotes of `--command` do not match, a NAME=VALUE has no `=`, or no
            token was given.
    """
    return {name: _value(name, value) for name, value in fields.items() if value not in (None, [])}


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 — as typed, not yet validated
    if name == TOKEN:
        return ask_secret("the repository's token")
    field = AppChange.model_fields[name]
    if value == "" and NoneType in get_args(field.annotation):
        return None
    if name == COMMAND:
        return _split(value)
    if isinstance(value, list):
        words = [word for word in value if word]
        return dict(map(_pair, words)) if type_of(field) is dict else words
    return value


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ConfigurationError(Mistake(word, "write it as NAME=VALUE"))
    return name, value


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as exc:
        raise ConfigurationError(Mistake("command", str(exc).lower())) from None
