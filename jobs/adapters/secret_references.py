"""Where an apps file may take secrets from: variables and files, but none of Keystone's own.

The author of an apps file may be another person than the one who applies it, often as root. Without
limits, a file from a repository could give an app the machine's secrets, or the key that decrypts
all other secrets.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from jobs.errors import ConfigurationError, Mistake
from jobs.rules.apps_file import HOW_TO_REFER
from jobs.rules.text import is_utf8
from jobs.rules.variables import LARGEST_VALUE
from jobs.settings import PREFIX
from jobs.system.small_files import as_text

LINE_END = 2  # bytes; a line end at the end of a file is not part of the value


@dataclass(frozen=True)
class Surroundings:
    """The sources that references are resolved against.

    Attributes:
        environ: the environment variables.
        folder: the base of relative paths; files below it are allowed.
        others: more folders below which files are allowed.
        own: Keystone's own files and folders, which are refused.
        keys: the keys that decrypt Keystone's sealed values.
    """

    environ: Mapping[str, str]
    folder: Path
    others: Sequence[Path] = ()
    own: Sequence[Path] = ()
    keys: Sequence[SecretStr] = ()


def find_secret(around: Surroundings, reference: Mapping[str, object]) -> SecretStr:
    """Read the secret that an apps file refers to.

    Raises:
        ConfigurationError: there is no secret, or that source is not allowed.
    """
    match reference:
        case {"env": str(name), **others} if not others:
            found = _variable(name, around)
        case {"file": str(path), **others} if not others:
            found = _content(around.folder / path, around)
        case _:
            raise ConfigurationError(f"write {HOW_TO_REFER}, and nothing else")
    if any(key.get_secret_value() in found for key in around.keys):
        raise ConfigurationError("it leads to Keystone's own key, which no app is given")
    return SecretStr(found)


def _variable(name: str, around: Surroundings) -> str:
    if name.startswith(PREFIX):
        told = (
            f"{PREFIX}… variables are Keystone's own settings, which no app is "
            "given; put the value into a variable of another name"
        )
        raise ConfigurationError(Mistake(name[:200], told))
    if not (value := around.environ.get(name, "")):
        raise ConfigurationError(f"the environment variable {name[:200]} is not set")
    if not is_utf8(value):
        raise ConfigurationError(f"the environment variable {name[:200]} is not text in UTF-8")
    return value


def _content(path: Path, around: Surroundings) -> str:
    try:
        with _looked_at(path) as descriptor:
            _ensure_allowed(path, descriptor, around)
            with Path(_link(descriptor)).open("rb") as file:
                content = file.read(LARGEST_VALUE + LINE_END + 1)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{path} cannot be read ({type(exc).__name__})") from exc
    try:
        text = as_text(content).rstrip("\r\n")
    except ValueError as exc:
        raise ConfigurationError(f"{path} {exc}") from None
    if not text:
        raise ConfigurationError(f"{path} is empty")
    return text


@contextmanager
def _looked_at(path: Path) -> Iterator[int]:
    """Get a descriptor of a file without opening it, so that all checks see the same file."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _link(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _ensure_allowed(path: Path, descriptor: int, around: Surroundings) -> None:
    real, found = Path(_link(descriptor)).readlink(), os.fstat(descriptor)
    allowed = [folder.resolve() for folder in (around.folder, *around.others)]
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise ConfigurationError(
            f"{path} is not below {allowed[0]}, where this file lies; say --files-from DIR to "
            "allow another folder"
        )
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path} is not an ordinary file")
    if found.st_size > LARGEST_VALUE + LINE_END:
        raise ConfigurationError(f"{path} is too long: at most {LARGEST_VALUE} bytes")
    if any(_is_of(own, real, found) for own in around.own):
        raise ConfigurationError(f"{path} is one of Keystone's own files, which no app is given")


def _is_of(own: Path, real: Path, found: os.stat_result) -> bool:
    """Whether a file is `own` itself, also under another name, or lies below it."""
    try:
        return real.is_relative_to(own.resolve()) or os.path.samestat(own.stat(), found)
    except OSError:
        return False
