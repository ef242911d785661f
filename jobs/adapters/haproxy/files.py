"""The router's files on the disk, which always say what the running router serves.

Whoever changes a route, a domain or a certificate through the runtime API also changes the files,
while holding one lock. A reload, and a start after a crash, take the same lock and read the files.
So neither of them loses a switch, or brings a retired release back. All writes are atomic: a
process that is killed at any point leaves complete files, and the kernel releases its lock.

Nothing is flushed to the disk: a machine that loses its power loses its containers' addresses too.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.haproxy.assets import PATHS, WARM, found_warm, read_file, turned
from jobs.adapters.haproxy.compression import COMPRESSES
from jobs.adapters.haproxy.config import UNFILLED
from jobs.adapters.haproxy.domains import (
    CERTIFICATE_LIST,
    CERTIFICATES,
    CERTIFIED,
    DEFAULT,
    HOSTS,
    NOBODY,
    certified_entries,
    host_entries,
)
from jobs.adapters.haproxy.syntax import lines
from jobs.errors import RouterError
from jobs.rules.container_values import Route, Warm
from jobs.system.file_lock import NotInTimeError, locked
from jobs.system.router_files import LOCK, RELOAD_WANTED

CONFIGURATION = "haproxy.cfg"
PATIENCE_S = 60.0  # longer than any reload, which holds the lock, too

_BACKEND = re.compile(r"^backend port_(\d+) ", re.MULTILINE)
_NEXT = re.compile(r"^\S", re.MULTILINE)
_SERVER = re.compile(r"^    server (\S+) (\S+)(.*)$", re.MULTILINE)
_DISABLED = " disabled"

Servers = Mapping[str, str]  # the address of each slot


class RouterFiles:
    """The files in the folder of the router's configuration.

    Every method except `locked` requires that the caller holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock of the files for the length of the block.

        Raises:
            RouterError: another process holds the lock for too long, or there is no folder.
        """
        try:
            with locked(self._folder / LOCK, patience_s=PATIENCE_S, shared=shared):
                yield
        except NotInTimeError as exc:
            raise RouterError("another process holds the lock of the router's files") from exc
        except OSError as exc:
            raise RouterError(f"the router's files cannot be used: {exc}") from exc

    def exist(self) -> bool:
        """Whether there is a configuration."""
        return (self._folder / CONFIGURATION).exists()

    # --- Routes ------------------------------------------------------------------------------

    def routes(self) -> dict[int, Route | None]:
        """Give the route of each port in the configuration; None for a port without a release."""
        found: dict[int, Route | None] = {}
        for port, servers in self._backends():
            found[port] = None
            for slot, address in _enabled(servers).items():
                found[port] = Route(port, slot, address)
        return found

    def compressed(self) -> set[int]:
        """Give the ports whose answers the configuration has compressed."""
        return {port for port, backend in self._backends() if COMPRESSES in backend}

    def _backends(self) -> Iterator[tuple[int, str]]:
        """Give each port with the lines of its backend."""
        text = self._read(CONFIGURATION)
        for match in _BACKEND.finditer(text):
            yield int(match[1]), text[match.end() : _end(text, match.end())]

    def want_reload(self) -> None:
        """Ask whoever may reload the router to write its configuration again, and reload it."""
        (self._folder / RELOAD_WANTED).touch(mode=0o600)

    def switch(self, route: Route) -> None:
        """Write that a port leads to this route only, and that its warm address is the former."""
        warm = self._entries(WARM)
        if str(route.port) in warm:
            turn = turned(self.routes().get(route.port), route, warm)
            self._change(WARM, lines({**warm, **turn}))
        self._change_servers(route.port, lambda _: {route.slot: route.address})

    def close(self, port: int) -> None:
        """Write that a port has no release."""
        self._change_servers(port, lambda _: {})

    def detach(self, port: int, slot: str) -> None:
        """Write that a slot is disabled."""
        self._change_servers(
            port, lambda enabled: {name: enabled[name] for name in enabled if name != slot}
        )

    def _change_servers(self, port: int, change: Callable[[Servers], Servers]) -> None:
        """Change which slots of a port are enabled, and their addresses."""
        text = self._read(CONFIGURATION)
        match = re.search(rf"^backend port_{port} ", text, re.MULTILINE)
        if match is None:
            return
        end = _end(text, match.end())
        old = text[match.end() : end]
        wanted = change(_enabled(old))
        new = _SERVER.sub(lambda found: _server(found, wanted), old)
        if new != old:
            self.write(CONFIGURATION, text[: match.end()] + new + text[end:])

    # --- Old assets --------------------------------------------------------------------------

    def warmed(self) -> dict[int, Warm]:
        """Give the containers that are asked for old assets, by port."""
        return found_warm(self._entries(PATHS), self._entries(WARM))

    def write_old_assets(self, paths: Mapping[str, str], warm: Mapping[str, str]) -> None:
        """Write the entries of both maps."""
        self._change(WARM, lines(warm))
        self._change(PATHS, lines(paths))

    def _entries(self, name: str) -> dict[str, str]:
        return read_file(self._read(name))

    # --- Domains and certificates ------------------------------------------------------------

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Write the map of hosts."""
        self._change(HOSTS, lines(host_entries(domains)))

    def serve_certificates(self, listed: Mapping[str, str], pems: Mapping[str, SecretStr]) -> None:
        """Write the certificates that the router serves.

        Args:
            listed: the domain of each certificate's file.
            pems: the content of files, which may exist already.
        """
        if not (self._folder / DEFAULT).exists():
            return
        for file in listed.keys() & pems.keys():
            if not (self._folder / file).exists():
                self.write(file, pems[file].get_secret_value())
        kept = {file: domain for file, domain in listed.items() if (self._folder / file).exists()}
        self._change(CERTIFICATE_LIST, lines({DEFAULT: NOBODY, **kept}))
        self._change(CERTIFIED, lines(certified_entries(dict.fromkeys(kept.values()))))
        self.remove_certificates(but_for=kept)

    def remove_certificates(self, *, but_for: Mapping[str, object]) -> None:
        """Remove the files of certificates that no list names any more."""
        for path in (self._folder / CERTIFICATES).glob("*.pem*"):
            name = f"{CERTIFICATES}/{path.name}"
            if name != DEFAULT and name not in but_for:
                path.unlink(missing_ok=True)

    # --- Files -------------------------------------------------------------------------------

    def write(self, name: str, text: str) -> Path:
        """Replace a file at once; only its owner may read it.

        Raises:
            RouterError: the disk is full, or the folder is not writable.
        """
        file = self._folder / name
        draft = file.with_name(f"{file.name}.draft")
        try:
            opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as stream:
                stream.write(text)
            draft.replace(file)
        except OSError as exc:
            raise RouterError(f"{file} cannot be written: {exc.strerror}") from exc
        return file

    def _change(self, name: str, text: str) -> None:
        found = self._read(name)
        # The order of the lines has no meaning.
        if sorted(found.splitlines()) != sorted(text.splitlines()):
            self.write(name, text)

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as exc:
            raise RouterError(f"the router's file {name} cannot be read: {exc.strerror}") from exc


def _enabled(backend: str) -> Servers:
    """Give the addresses of the slots in a backend's lines that are not disabled."""
    servers = _SERVER.findall(backend)
    return {slot: address for slot, address, rest in servers if _DISABLED not in rest}


def _server(found: "re.Match[str]", enabled: Servers) -> str:
    slot, options = found[1], found[3].replace(_DISABLED, "")
    if slot in enabled:
        return f"    server {slot} {enabled[slot]}{options}"
    return f"    server {slot} {UNFILLED}{options}{_DISABLED}"


def _end(text: str, start: int) -> int:
    """Give the end of the section that `start` is in the first line of."""
    line_end = text.find("\n", start)
    if line_end < 0:
        return len(text)
    following = _NEXT.search(text, line_end)
    return following.start() if following else len(text)
