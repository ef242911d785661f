"""Reads and checks a TOML file of desired apps; reports every mistake with its place.

    [apps.web]
    repository = "octo/web"
    domains = ["www.example.com"]
    token = { env = "WEB_TOKEN" }

    [apps.web.env]
    LOG_LEVEL = "info"
    API_KEY = { file = "secrets/api-key" }

The file never holds a secret. It names an environment variable or another file that holds it
(`jobs.adapters.secret_references`). `secret = true` or `false` beside it, or beside `value = "…"`,
says what kind of variable it is. Whatever the file does not name stays unchanged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.app_fields import AppInput
from jobs.rules.mistakes import mistakes_of
from jobs.rules.strict_toml import strict_toml
from jobs.rules.variables import SHOWN_NAME, NewValue, ensure_variable

# Reads the secret that `{ env = … }` or `{ file = … }` refers to.
FindSecret = Callable[[Mapping[str, object]], SecretStr]
HOW_TO_REFER = '{ env = "NAME" } or { file = "PATH" }'

APPS, ENV, TOKEN = "apps", "env", "token"
SECRET = "secret"  # noqa: S105 — the name of a key
FIELDS = [*(name for name in AppInput.model_fields if name != "name"), ENV]
PLAIN_FIELDS = frozenset(FIELDS) - {ENV, TOKEN}
# Placeholder for validation when an app names no repository. Whether it must name one depends on
# which apps exist.
ANY_REPOSITORY = "any/one"


@dataclass(frozen=True)
class Wanted:
    """One app's desired state, from the file.

    Attributes:
        fields: the fields that the file names, checked, in the form of `jobs.rules.app_fields`.
        repository: None when the file names none, which is allowed for an existing app.
        variables: the environment variables that the file names.
    """

    name: str
    fields: Mapping[str, Any]
    repository: str | None
    variables: Mapping[str, NewValue]


def read_apps(text: str, find: FindSecret) -> list[Wanted]:
    """Read the apps of a TOML file.

    Raises:
        ConfigurationError: lists every mistake in the file, each with the path of its key.
    """
    try:
        data = strict_toml(text)
    except ValueError as exc:
        raise ConfigurationError(f"this file cannot be read: {exc}") from None
    mistakes = _unknown(data, [APPS])
    tables = data.get(APPS, {})
    if not isinstance(tables, dict):
        raise ConfigurationError(*mistakes, Mistake(APPS, f"write each app as [{APPS}.NAME]"))
    found = []
    for name, table in tables.items():
        with _collected(mistakes, APPS, name[:70]):
            found.append(_read_app(name, table, find))
    if mistakes:
        raise ConfigurationError(*mistakes)
    return found


def _unknown(table: Mapping[str, object], known: Iterable[str]) -> list[Mistake]:
    """Report each unknown key, with the known key that is nearest to it."""
    names = list(known)
    told = []
    for key in table:
        if key not in names:
            near = get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            told.append(Mistake(key[:70] or '""', f"there is no such field{hint}"))
    return told


@contextmanager
def _collected(mistakes: list[Mistake], *above: str) -> Iterator[None]:
    """Collect the mistakes of a table instead of raising, so that reading can continue."""
    try:
        yield
    except ConfigurationError as exc:
        mistakes += [each.below(*above) for each in exc.mistakes]


def _read_app(name: str, table: object, find: FindSecret) -> Wanted:
    if not isinstance(table, dict):
        raise ConfigurationError(f"write it as [{APPS}.{name[:70]}], with its fields below")
    mistakes = _unknown(table, FIELDS)
    given = {key: _or_none(key, table[key]) for key in table if key in PLAIN_FIELDS}
    variables: dict[str, NewValue] = {}
    with _collected(mistakes):
        variables = _read_variables(table.get(ENV, {}), find)
    if TOKEN in table:
        with _collected(mistakes), _about(TOKEN):
            given[TOKEN] = _read_token(table[TOKEN], find)
    fields = _checked(name, given, mistakes)
    if mistakes:
        raise ConfigurationError(*mistakes)
    repository = fields.pop("repository")
    return Wanted(name, fields, repository if "repository" in given else None, variables)


def _checked(name: str, given: Mapping[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """Validate an app's fields; give those that were given, and the repository."""
    whole = {"repository": ANY_REPOSITORY, **given, "name": name}
    try:
        fields = AppInput.model_validate(whole).given()
    except ValidationError as exc:
        # The app's name is the table's key, so report a bad name as a mistake of the table.
        mistakes += [
            replace(each, field="") if each.field == "name" else each for each in mistakes_of(exc)
        ]
        return {}
    # Keep the order of the file, so that later messages use it too.
    return {key: fields[key] for key in whole if key != "name"}


def _or_none(key: str, value: object) -> object:
    """Read an empty text as None for an optional field: TOML has no null."""
    is_optional = NoneType in get_args(AppInput.model_fields[key].annotation)
    return None if value == "" and is_optional else value


# --- Variables and secrets -------------------------------------------------------------------


def _read_variables(table: object, find: FindSecret) -> dict[str, NewValue]:
    if not isinstance(table, dict):
        told = f"write the variables below [{APPS}.NAME.{ENV}]"
        raise ConfigurationError(Mistake(ENV, told))
    mistakes: list[Mistake] = []
    found = {}
    for name, value in table.items():
        with _collected(mistakes, ENV):
            found[name] = _read_variable(name, value, find)
    if mistakes:
        raise ConfigurationError(*mistakes)
    return found


def _read_variable(name: str, value: object, find: FindSecret) -> NewValue:
    if isinstance(value, str):
        variable = NewValue(SecretStr(value))
    elif isinstance(value, dict):
        with _about(name[:SHOWN_NAME]):
            variable = _read_table(name, value, find)
    else:
        told = f"write the value in quotes, or {HOW_TO_REFER}"
        raise ConfigurationError(Mistake(name[:SHOWN_NAME], told))
    ensure_variable(name, variable.value)
    return variable


def _read_table(name: str, table: Mapping[str, object], find: FindSecret) -> NewValue:
    """Read a value with its kind; a referenced one is a secret if nothing else is said."""
    kind = table.get(SECRET)
    if not isinstance(kind, bool | None):
        raise ConfigurationError(f"{SECRET} is true or false")
    rest = {key: value for key, value in table.items() if key != SECRET}
    match rest:
        case {"value": str(value), **others} if not others:
            return NewValue(SecretStr(value), kind)
        case {"env": _} | {"file": _}:
            return NewValue(find(rest), True if kind is None else kind)
    if any(isinstance(value, str | Mapping) for value in rest.values()):
        # TOML takes `discovery.type = "x"` for a table `discovery` with a key `type`.
        inner = next(iter(rest))
        raise ConfigurationError(
            f'write {HOW_TO_REFER}; if the dot belongs to the name, quote it: "{name}.{inner}" = …'
        )
    raise ConfigurationError(f"write {HOW_TO_REFER}, and nothing else")


def _read_token(value: object, find: FindSecret) -> SecretStr:
    if not isinstance(value, dict):
        raise ConfigurationError(f"a secret must not stand in this file; write {HOW_TO_REFER}")
    return find(value)


@contextmanager
def _about(field: str) -> Iterator[None]:
    """Add to a mistake in a reference the name of the field that holds it."""
    try:
        yield
    except ConfigurationError as exc:
        raise ConfigurationError(*(Mistake(field, told) for told in exc.problems)) from None
