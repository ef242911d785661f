"""The registry logins that `docker login` has stored on this machine. Pure.

The docker CLI stores them in `config.json`, by host or by URL. Logins that a credential helper
stores are not available: Keystone runs no program that a file in a home folder names.

Source: https://docs.docker.com/reference/cli/docker/login/ (read 2026-11-23).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from jobs.errors import ConfigurationError

LARGEST_CONFIG = 1024 * 1024  # bytes
HELPED = "is kept by a credential helper, which Keystone does not run"
TOKEN = "is an identity token, which Keystone cannot use"  # noqa: S105 — no password
INDEX = "index."

Login = tuple[str, SecretStr]  # user and password


@dataclass(frozen=True)
class Entry:
    """The entry of one registry.

    Attributes:
        key: the registry as the file writes it: a host or a URL.
        problem: why the entry yields no login; empty when it yields one.
    """

    key: str
    login: Login | None = None
    problem: str = ""

    def serves(self, host: str) -> bool:
        """Whether the entry applies to a host.

        A version 1 registry (the first kind) is stored as `https://index.X/v1/` and serves all
        hosts in the domain X.
        """
        named, path = _split(self.key)
        domain = named.removeprefix(INDEX)
        is_index = path == "v1" and domain != named and "." in domain
        return host == named or (is_index and f".{host}".endswith(f".{domain}"))


@dataclass(frozen=True)
class Logins:
    """All entries of the file. A key that equals the requested host wins over a URL."""

    entries: tuple[Entry, ...] = ()
    has_store: bool = False  # whether a credential helper stores every login

    def find(self, host: str) -> Entry:
        """Give the entry for a host; an entry without a login when there is none."""
        wanted = host.lower()
        serving = [entry for entry in self.entries if entry.serves(wanted)]
        serving.sort(key=lambda entry: (entry.login is None, entry.key != wanted))
        unknown = Entry(wanted, problem=HELPED if self.has_store else "")
        return serving[0] if serving else unknown

    def by_key(self) -> dict[str, Login]:
        """Give the logins by the keys that the file uses."""
        return {entry.key: entry.login for entry in self.entries if entry.login is not None}


def config_path(environ: Mapping[str, str]) -> Path | None:
    """Give the path of the docker CLI's configuration; None when the user has no home folder."""
    try:
        folder = Path(environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    except RuntimeError:
        return None
    return folder / "config.json"


def parse_logins(content: bytes) -> Logins:
    """Parse the logins of a configuration file; a malformed entry yields no login.

    Raises:
        ConfigurationError: it is not a configuration file, or is larger than `LARGEST_CONFIG`.
    """
    if len(content) > LARGEST_CONFIG:
        raise ConfigurationError(f"it is larger than {LARGEST_CONFIG // 1024} KiB")
    try:
        found = json.loads(content)
    # Deeply nested arrays raise RecursionError in the parser.
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError("it is not JSON of the docker command line")
    has_store = bool(found.get("credsStore"))
    on_file = (
        _entry(key, value, has_store=has_store) for key, value in _object(found, "auths").items()
    )
    helped = (Entry(key, problem=HELPED) for key in _object(found, "credHelpers"))
    return Logins((*on_file, *helped), has_store)


def _entry(key: str, value: object, *, has_store: bool) -> Entry:
    fields = value if isinstance(value, dict) else {}
    if fields.get("identitytoken"):
        return Entry(key, problem=TOKEN)
    user, password = _pair(fields)
    if user and password:
        return Entry(key, (user, SecretStr(password)))
    return Entry(key, problem=HELPED if has_store else "")


def _pair(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Give user and password; both empty when they are missing or unreadable."""
    try:
        both = base64.b64decode(fields.get("auth") or "", validate=True).decode()
        # Some programs pad the password with zeros.
        user, colon, password = both.rstrip("\0").partition(":")
        if not colon:
            user, password = str(fields["username"]), str(fields["password"])
        # A lone surrogate cannot be encoded, and no keyboard produces one.
        (user + password).encode()
    except (KeyError, TypeError, ValueError):
        return "", ""
    return user, password


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _split(key: str) -> tuple[str, str]:
    """Give a key's host in lower case, and its path without leading and trailing slashes."""
    host, _, path = key.rpartition("://")[2].partition("/")
    return host.lower(), path.strip("/")
