"""Reads small user-given files with a size limit; errors are phrases for the user."""

import codecs
import io
from pathlib import Path

from dotenv import dotenv_values

LARGEST_ENV_FILE = 1024 * 1024  # bytes
LARGEST_SECRET_FILE = 64 * 1024


def read_small(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes; it may be a pipe.

    Raises:
        ValueError: the file is unreadable or longer; the message continues after the file's name.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as exc:
        raise ValueError(f"cannot be read ({exc.strerror})") from None
    if len(content) > most:
        raise ValueError(f"is too long: at most {most} bytes")
    return content


def as_text(content: bytes) -> str:
    """Decode bytes as UTF-8 text, without the byte order mark that Windows programs write.

    Raises:
        ValueError: they are not UTF-8; the message continues after the file's name.
    """
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as exc:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError("holds no text in UTF-8, but in UTF-16: save it as UTF-8") from None
        line = content.count(b"\n", 0, exc.start) + 1
        raise ValueError(f"holds no text in UTF-8: see line {line}, byte {exc.start + 1}") from None


def read_env_file(path: Path) -> dict[str, str]:
    """Read a `.env` file; an empty result when the file does not exist.

    Raises:
        ValueError: it cannot be read; the message gives the reason without quoting the content.
    """
    content = read_small(path, LARGEST_ENV_FILE) if _is_ordinary(path) else b""
    found = dotenv_values(stream=io.StringIO(as_text(content)), interpolate=False)
    return {name: value or "" for name, value in found.items()}


def read_secret_file(path: Path) -> str:
    """Read a file that contains a secret and nothing else.

    Raises:
        ValueError: it cannot be read; the message gives the reason without quoting the content.
    """
    if not _is_ordinary(path) and path.exists():
        # A pipe might never end, and only one process can read it.
        raise ValueError("is not an ordinary file")
    return as_text(read_small(path, LARGEST_SECRET_FILE)).strip()


def _is_ordinary(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as exc:  # the parent folder is not accessible
        raise ValueError(f"cannot be read ({exc.strerror})") from None
