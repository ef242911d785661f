"""The files that settings come from: `.env`, and those that hold one secret each. Bounded."""

import io
from pathlib import Path

from dotenv import dotenv_values

LARGEST_ENV_FILE = 1024 * 1024  # bytes
LARGEST_SECRET_FILE = 64 * 1024


def read_env_file(path: Path) -> dict[str, str]:
    """Read a `.env` file; nothing when there is none.

    Raises:
        ValueError: it cannot be read; the message says why and quotes nothing of it.
    """
    try:
        text = _read(path, LARGEST_ENV_FILE) if path.is_file() else ""
    except PermissionError as exc:  # of the folder it may be in
        raise ValueError(f"cannot be read ({exc.strerror})") from None
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value or "" for name, value in found.items()}


def read_secret_file(path: Path) -> str:
    """Read a file that holds a secret and nothing else.

    Raises:
        ValueError: it cannot be read; the message says why and quotes nothing of it.
    """
    return _read(path, LARGEST_SECRET_FILE).strip()


def _read(path: Path, most: int) -> str:
    try:
        if path.exists() and not path.is_file():
            # A pipe might never end, and can be read by one process only.
            raise ValueError("is not an ordinary file")
        with path.open("rb") as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise ValueError(f"is too long: at most {most} bytes")
        return raw.decode()
    except OSError as exc:
        raise ValueError(f"cannot be read ({exc.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("holds no text") from None
