"""The router's key, by which the web process recognises requests that come through the router.

It is a file that only Keystone's own users can read, and that stays as long as the data directory,
so that neither a router that outlives Keystone nor a restarted web process needs a new one.
"""

import re
import secrets
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from jobs.errors import StorageError

ROUTER_KEY = "router.key"
_KEY = re.compile(r"[A-Za-z0-9_-]{32,100}")


def known_router_key(folder: Path) -> SecretStr | None:
    """Give the key in a folder; None if there is none yet, or this user may not read it."""
    path = folder / ROUTER_KEY
    with suppress(OSError, UnicodeDecodeError):
        found = path.read_text(encoding="utf-8").strip()
        return SecretStr(found) if _KEY.fullmatch(found) else None
    return None


def ensure_router_key(folder: Path) -> SecretStr:
    """Give the key in a folder, usually the settings' `run_dir`; make one if there is none.

    Raises:
        StorageError: the file cannot be read or written.
    """
    path = folder / ROUTER_KEY
    try:
        if path.exists() and path.stat().st_size == 0:
            path.unlink()  # a machine that lost power may leave an empty file
        if not path.exists():
            _make(path)
    except OSError as exc:
        raise StorageError(f"{path} cannot be written ({exc.strerror})") from exc
    if (found := known_router_key(folder)) is None:
        raise StorageError(f"{path} does not hold the router's key; remove it and start again")
    return found


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Write a draft and hard-link it, so that two processes starting at once share one key.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    try:
        draft.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
