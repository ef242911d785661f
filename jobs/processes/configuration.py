"""Reads and writes Keystone's settings: variables, the `.env` file, and secret files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.mistakes import mistakes_of
from jobs.rules.text import is_utf8
from jobs.settings import PREFIX, SECRETS, AllSettings, AnySettings, Settings
from jobs.system.small_files import read_env_file, read_secret_file

NOT_UTF8 = "is not text in UTF-8"
# Settings with URLs that may contain a password.
SECRET_URLS = frozenset({"database_url", "redis_url"})


def read_settings(
    wanted: type[AnySettings], environ: Mapping[str, str], *, env_file: Path = Path(".env")
) -> AnySettings:
    """Read the settings of one process.

    Args:
        wanted: the class of settings that this process may know; other settings are validated too.
        environ: usually `os.environ`; overrides the file.

    Raises:
        ConfigurationError: with every mistake found; no value is quoted.
    """
    given = {**_from_file(env_file), **{k: v for k, v in environ.items() if k.startswith(PREFIX)}}
    values, mistakes = _gather(given)
    try:
        everything = AllSettings.model_validate(values)
    except ValidationError as exc:
        raise ConfigurationError(*mistakes, *_mistakes(exc)) from None
    if mistakes:
        raise ConfigurationError(*mistakes)
    found = wanted.model_validate({name: getattr(everything, name) for name in wanted.model_fields})
    if not is_utf8(str(found.data_dir)):
        # The name of the working directory may be the cause.
        told = f"its path {NOT_UTF8}: use another folder"
        raise ConfigurationError(Mistake(_variable("data_dir"), told))
    return found


def to_environment(settings: AllSettings) -> dict[str, str]:
    """Give variables from which `read_settings` reads the same settings again, in any folder."""
    written = {name: _written(getattr(settings, name)) for name in type(settings).model_fields}
    return {f"{PREFIX}{name.upper()}": text for name, text in written.items() if text}


def _written(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return "on" if value else "off"
        case tuple():
            return ",".join(map(str, value))
    return str(value)


def unknown_secrets(wanted: type[Settings]) -> list[str]:
    """List the variables of the secrets that a process with these settings must not know."""
    return [f"{PREFIX}{name.upper()}" for name in sorted(SECRETS - set(wanted.model_fields))]


def files_of_settings(environ: Mapping[str, str], *, env_file: Path = Path(".env")) -> list[Path]:
    """List the files that `read_settings` reads: the `.env` file and the secret files."""
    given = {**_from_file(env_file), **environ}
    return [
        env_file,
        *(Path(given[name]) for name in given if _field_of_file(name) and given[name]),
    ]


def _field_of_file(name: str) -> str:
    """Give the field whose value is in the file that a variable names; empty if there is none."""
    field = name.removeprefix(PREFIX).lower().removesuffix("_file")
    is_known = field in SECRETS | SECRET_URLS and name == f"{PREFIX}{field.upper()}_FILE"
    return field if is_known else ""


def describe_settings(settings: Settings) -> dict[str, str]:
    """Give the effective settings by variable name, secrets as `set` or `not set`."""
    return {
        f"{PREFIX}{name.upper()}": _shown(name, getattr(settings, name))
        for name in type(settings).model_fields
    }


def _shown(name: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "not set"
    if name in SECRET_URLS:
        return _without_passwords(str(value))
    return _written(value)


def _without_passwords(url: str) -> str:
    """Mask the parts of a URL that may be a password: all before the @, and the query's values."""
    scheme, mark, rest = url.partition("://")
    _, at, where = rest.rpartition("@")
    address, question, query = where.partition("?")
    told = re.sub("=[^&]*", "=…", query)
    return f"{scheme}{mark}{'…' if at else ''}{at}{address}{question}{told}"


def _from_file(path: Path) -> dict[str, str]:
    try:
        found = read_env_file(path)
    except ValueError as exc:
        raise ConfigurationError(f"{path} {exc}") from None
    return {name: value for name, value in found.items() if name.startswith(PREFIX)}


def _gather(given: Mapping[str, str]) -> tuple[dict[str, Any], list[Mistake]]:
    """Map `KEYSTONE_…` variables to fields, and collect the errors."""
    values: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for name in sorted(given):
        field = name.removeprefix(PREFIX).lower()
        if not is_utf8(given[name]):
            mistakes.append(Mistake(name, NOT_UTF8))
        elif field in AllSettings.model_fields:
            # An empty value means "not set", as in most tools that read `.env` files.
            if given[name]:
                values[field] = given[name]
        elif _field_of_file(name):
            _read_secret_file(name, given, values, mistakes)
        else:
            told = "no such setting; `keystone config` lists them all"
            mistakes.append(Mistake(name, told))
    return values, mistakes


def _read_secret_file(
    name: str, given: Mapping[str, str], values: dict[str, Any], mistakes: list[Mistake]
) -> None:
    if not given[name]:
        return
    plain = name.removesuffix("_FILE")
    if given.get(plain):
        mistakes.append(Mistake(name, f"{plain} is set too; keep one of them"))
        return
    try:
        values[plain.removeprefix(PREFIX).lower()] = read_secret_file(Path(given[name]))
    except ValueError as exc:
        mistakes.append(Mistake(name, f"its file {exc}"))


def _mistakes(exc: ValidationError) -> list[Mistake]:
    # A variable holds a whole list as one value, so the mistake names no entry of the list.
    return [Mistake(_variable(each.field), each.message) for each in mistakes_of(exc)]


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
