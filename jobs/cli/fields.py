"""An option for every field of an app, made from the fields themselves: both doors take the same.

Values are handed on as they were typed; `jobs.rules.app_fields` says what they must be, for the
command line as for the API.
"""

import inspect
import shlex
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from jobs.cli.console import ask_secret
from jobs.errors import ConfigurationError
from jobs.rules.app_fields import AppChange

TOKEN = "token"  # noqa: S105 — the name of a field
COMMAND = "command"
TOKEN_HELP = "Read the repository's token from standard input, or ask for it."  # noqa: S105


def with_app_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `**fields` an option for every field of an app.

    `given_fields` makes of them what was asked for.
    """
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [_option(name, field) for name, field in AppChange.model_fields.items()]
    # Typer looks at both: the signature for the order, the annotations for the types.
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *options]
    )
    command.__annotations__.pop("fields")
    command.__annotations__.update({option.name: option.annotation for option in options})
    return command


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = name.replace("_", "-")
    kind: object = str | None
    option = typer.Option(f"--{flag}", help=field.description)
    if name == TOKEN:
        kind, option = bool | None, typer.Option("--token-stdin", help=TOKEN_HELP)
    elif field.annotation is bool:
        kind = bool | None
        option = typer.Option(f"--{flag}/--no-{flag}", help=field.description)
    elif name == COMMAND:
        option = typer.Option(f"--{flag}", help=f"{field.description}; quoted as in a shell")
    elif _is_dict(field.annotation):
        kind = list[str] | None
        option = typer.Option(f"--{flag}", help=f"{field.description}; NAME=VALUE, repeated")
    elif _is_list(field.annotation):
        kind = list[str] | None
        option = typer.Option(f"--{flag}", help=f"{field.description}; may be repeated")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) in (list, tuple) or any(map(_is_list, get_args(annotation)))


def _is_dict(annotation: object) -> bool:
    return get_origin(annotation) is dict


def given_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what was given on the command line, in the shape that the API takes.

    Raises:
        ConfigurationError: the quotes of `--command` do not match, or no token was given.
    """
    return {name: _value(name, value) for name, value in fields.items() if value not in (None, [])}


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 — as typed, on its way to being checked
    if name == TOKEN:
        return ask_secret("the repository's token")
    annotation = AppChange.model_fields[name].annotation
    if value == "" and NoneType in get_args(annotation):
        return None
    if name == COMMAND:
        return _split(value)
    if isinstance(value, list):
        words = [word for word in value if word]
        return dict(map(_pair, words)) if _is_dict(annotation) else words
    return value


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise ConfigurationError(f"{word}: write it as NAME=VALUE")
    return name, value


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as exc:
        raise ConfigurationError(f"command: {str(exc).lower()}") from None
