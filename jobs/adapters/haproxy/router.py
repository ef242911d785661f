"""A client of HAProxy's runtime API over its Unix socket; the only code that talks to the router.

A call is one connection, one line of commands and the whole answer. HAProxy has no error codes,
only sentences. This code does not interpret them: every line of commands ends with a query of the
resulting state, which decides whether the commands succeeded.

Source: HAProxy 2.6 Management Guide, section 9.3, "Unix Socket commands" (read 2026-11-23).
"""

import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.haproxy import assets
from jobs.adapters.haproxy.config import DESCRIPTION, SLOTS, backend_name, ensure_slot
from jobs.adapters.haproxy.domains import (
    CERTIFICATE_LIST,
    CERTIFIED,
    HOSTS,
    Loaded,
    certificate_file,
    certified_entries,
    host_entries,
    map_changes,
    read_certificates,
    read_map,
)
from jobs.adapters.haproxy.requests import UNBELIEVED
from jobs.adapters.haproxy.syntax import join_address, split_address
from jobs.errors import PortNotServedError, RouterError
from jobs.rules.container_values import Route, Warm, other_slot

RETRY_PAUSE_S = 0.1
# The state of a thousand ports takes 140 kB.
LONGEST_ANSWER = 16 * 1024 * 1024

# The last command of each line: if its answer is missing, the router ended during the answer.
LAST_WORDS = "show cli level"
_END = re.compile(r"\n\n\Z")
_TABLE_KEY = re.compile(r"^0x\w+: key=(\S+)", re.MULTILINE)
_LAST_ANSWER = re.compile(r"(?:\A|\n)(?:admin|operator|user)\n\n\Z")

# The bits of `srv_admin_state`. DECLARED_DISABLED only says how the server was declared at start.
FORCED_MAINTENANCE = 0x01
DECLARED_DISABLED = 0x04

Row = dict[str, str]


class HAProxyRouter:
    """A running HAProxy with a configuration that `jobs.adapters.haproxy.config` has generated.

    It holds no connection, so any thread or process may use it.

    Args:
        timeout_s: the timeout of one answer.
        patience_s: how long to retry when the router does not answer, while it is restarted. All
            calls are idempotent.
    """

    def __init__(
        self, socket_path: Path, *, timeout_s: float = 2.0, patience_s: float = 0.0
    ) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s
        self._patience_s = patience_s

    def version(self) -> str:
        """Give HAProxy's version, like "2.6.12-1+deb12u4".

        Raises:
            RouterError: no router answers.
        """
        if version := self._info().get("Version"):
            return version
        raise RouterError("the router does not tell its version; is it HAProxy?")

    def is_current(self) -> bool:
        """Whether this version of Keystone has generated the router's configuration.

        Raises:
            RouterError: no router answers.
        """
        return self._info().get("description") == DESCRIPTION

    def unbelieved_proxies(self) -> list[str]:
        """List untrusted private addresses that sent X-Forwarded-For within the last day.

        Raises:
            RouterError: no router answers.
        """
        answer = self._ask(f"show table {UNBELIEVED}")
        return sorted(key.removeprefix("::ffff:") for key in _TABLE_KEY.findall(answer))

    def switch(self, route: Route) -> None:
        """Send all new requests of the port to the route's slot, and drain the other slot.

        Idempotent. The new slot is ready before the old slot drains.

        Raises:
            PortNotServedError: the router does not listen on the port.
            RouterError: the address is invalid, or the router does not answer.
        """
        host, port = split_address(route.address)
        new, old = _servers(route.port, route.slot)
        answer = self._ask(
            f"set server {new} addr {host} port {port}",
            # A slot that was declared as warm has no weight.
            f"set server {new} weight 1",
            f"set server {new} state ready",
            f"set server {old} state drain",
            f"show servers state {backend_name(route.port)}",
        )
        rows = _rows(answer)
        if not rows:
            raise PortNotServedError(
                f"the router does not listen on port {route.port}: another program had it when "
                "the router was started; end that program and start Keystone again"
            )
        if _live(rows) != [route]:
            raise RouterError(f"the router did not switch port {route.port}: {_said(answer)}")

    def in_flight(self, port: int, slot: str) -> int:
        """Count the requests and tunnels that the slot still serves; idle visitors do not count.

        Raises:
            RouterError: the router does not answer.
        """
        server, _ = _servers(port, slot)
        for row in _rows(self._ask(f"show servers conn {backend_name(port)}")):
            if row.get("bkname/svname") == server:
                return int(row["used_cur"])
        return 0

    def detach(self, port: int, slot: str) -> None:
        """Disable one slot and cut its remaining connections. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not disable the slot.
        """
        ensure_slot(slot)
        self._disable(port, (slot,))

    def close(self, port: int) -> None:
        """Disable both slots: the port answers 503. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not disable the slots.
        """
        self._disable(port, SLOTS)

    def routes(self) -> dict[int, Route]:
        """Give the current routes by port.

        A port where both slots are ready is left out: a switch was interrupted there, and must be
        repeated.

        Raises:
            RouterError: the router does not answer.
        """
        by_port: dict[int, list[Route]] = {}
        for route in _live(_rows(self._ask("show servers state"))):
            by_port.setdefault(route.port, []).append(route)
        return {port: found[0] for port, found in by_port.items() if len(found) == 1}

    def warm(self, warm: Warm) -> None:
        """Ask a slot for the old assets of its port, and send no other request to it. Idempotent.

        The slot may be the live one, shortly before a switch away from it: then it stays live.

        Raises:
            RouterError: the address is invalid, or the router does not answer or did not do it.
        """
        server, _ = _servers(warm.port, warm.slot)
        host, port = split_address(warm.address)
        state = f"show servers state {backend_name(warm.port)}"
        if warm.slot not in {route.slot for route in _live(_rows(self._ask(state)))}:
            # From `maint` to `drain`: no request may come in between.
            self._ask(
                f"set server {server} addr {host} port {port};set server {server} state drain"
            )
        self._fill_assets(warm.port, assets.map_entries(warm))

    def cool(self, port: int) -> None:
        """Ask no slot of the port for old assets any more. An unknown port is fine.

        Raises:
            RouterError: the router does not answer or did not do it.
        """
        self._fill_assets(port, {})

    def warmed(self) -> dict[int, Warm]:
        """Give the slots that are asked for old assets, by port.

        Raises:
            RouterError: the router does not answer.
        """
        found = assets.read_entries(self._map(assets.ASSETS) or {})
        if not found:
            return {}
        addresses = {
            (row["be_name"], row["srv_name"]): join_address(row["srv_addr"], int(row["srv_port"]))
            for row in _rows(self._ask("show servers state"))
            if not _admin(row) & FORCED_MAINTENANCE
        }
        warm = (
            Warm(port, slot, addresses.get((backend_name(port), slot), ""), paths)
            for port, (slot, paths) in found.items()
        )
        return {each.port: each for each in warm}

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Route exactly these domains to their apps' ports, without interrupting any of them.

        Raises:
            RouterError: the router does not answer, or did not apply the change.
        """
        self._fill(HOSTS, host_entries(domains))

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Serve exactly these certificates: add the new ones, then remove the old ones.

        Raises:
            RouterError: the router does not answer, or refuses a certificate. It serves the other
                certificates then, and for the refused one's domain the previous certificate.
        """
        wanted = {certificate_file(domain, pem): domain for domain, pem in certificates.items()}
        loaded = self._loaded()
        if loaded is None:
            return
        if loaded.unfinished:
            # Abort the unfinished upload, else HAProxy takes what follows for its content.
            self._ask(f"abort ssl cert {loaded.unfinished}")
        for file in wanted.keys() - loaded.listed.keys():
            self._add_certificate(file, wanted[file], certificates[wanted[file]])
        self._show_only(wanted)

    def _info(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self._ask("show info").splitlines())
        return {name: value.strip() for name, _, value in lines}

    def _show_only(self, wanted: Mapping[str, str]) -> None:
        """Update the redirects and the list to the wanted certificates that could be loaded."""
        loaded = self._loaded()
        if loaded is None:
            return
        refused = {domain for file, domain in wanted.items() if file not in loaded.listed}
        kept = {f for f, domain in loaded.listed.items() if f in wanted or domain in refused}
        self._fill(CERTIFIED, certified_entries({loaded.listed[file]: file for file in kept}))
        for file in loaded.files - kept:
            self._ask(f"del ssl crt-list {CERTIFICATE_LIST} {file}", f"del ssl cert {file}")
        if refused:
            raise RouterError(f"the router refuses the certificate of {', '.join(sorted(refused))}")

    def _add_certificate(self, file: str, domain: str, pem: SecretStr) -> None:
        self._ask(f"new ssl cert {file}", f"set ssl cert {file}", payload=pem.get_secret_value())
        self._ask(
            f"commit ssl cert {file}",
            f"add ssl crt-list {CERTIFICATE_LIST}",
            payload=f"{file} {domain}",
        )

    def _loaded(self) -> Loaded | None:
        return read_certificates(
            self._ask("show ssl cert", f"show ssl crt-list {CERTIFICATE_LIST}")
        )

    def _fill_assets(self, port: int, wanted: Mapping[str, str]) -> None:
        entries = self._map(assets.ASSETS) or {}
        others = entries.keys() - assets.entries_of(port, entries).keys()
        self._fill(assets.ASSETS, {key: entries[key] for key in others} | dict(wanted))

    def _fill(self, name: str, wanted: Mapping[str, str]) -> None:
        found = self._map(name)
        # A router that serves no domains has no map of hosts.
        if found is None or found == wanted:
            return
        said = [self._ask(*commands) for commands in map_changes(name, found, wanted)]
        if self._map(name) != wanted:
            told = " ".join(" ".join(said).split())[:300]
            raise RouterError(f"the router did not take the entries of {name}: {told}")

    def _map(self, name: str) -> dict[str, str] | None:
        return read_map(name, self._ask("show map", f"show map {name}"))

    def _disable(self, port: int, slots: Iterable[str]) -> None:
        servers = [_servers(port, slot)[0] for slot in slots]
        commands = [f"set server {server} state maint" for server in servers]
        commands += [f"shutdown sessions server {server}" for server in servers]
        answer = self._ask(*commands, f"show servers state {backend_name(port)}")
        for row in _rows(answer):
            if row["srv_name"] in slots and not _admin(row) & FORCED_MAINTENANCE:
                raise RouterError(f"the router did not close port {port}: {_said(answer)}")

    def _ask(self, *commands: str, payload: str = "") -> str:
        """Execute the commands in order, and give the whole answer.

        Args:
            payload: text for the last command; for HAProxy, an empty line ends it.
        """
        if text := "\n".join(part for part in payload.splitlines() if part):
            line = f"{';'.join(commands)} <<\n{text}\n"
        else:
            line = ";".join((*commands, LAST_WORDS))
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    answer = self._exchange(connection, f"{line}\n").decode(errors="replace")
                return _whole(answer, has_last_words=not text)
            except OSError as exc:
                if time.monotonic() >= deadline:
                    raise RouterError(
                        "the router does not answer; `keystone up` starts it "
                        f"({self._path}: {exc.strerror or exc})"
                    ) from exc
            time.sleep(RETRY_PAUSE_S)

    def _exchange(self, connection: socket.socket, line: str) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        connection.settimeout(self._timeout_s)
        connection.connect(str(self._path))
        connection.sendall(line.encode("ascii"))
        answer = bytearray()
        while len(answer) < LONGEST_ANSWER:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(65536)
            if not piece:
                return bytes(answer)
            answer += piece
        raise RouterError("the router's answer is longer than any it should give")


def _whole(answer: str, *, has_last_words: bool) -> str:
    """Give an answer without the part that answers `LAST_WORDS`.

    Raises:
        ConnectionError: the router ended in the middle of its answer.
    """
    ending = _LAST_ANSWER if has_last_words else _END
    if not ending.search(answer):
        raise ConnectionError("it ended in the middle of its answer")
    return ending.sub("\n", answer)


def _servers(port: int, slot: str) -> tuple[str, str]:
    """Give the names that commands use for a port's slot and for its other slot."""
    ensure_slot(slot)
    return f"{backend_name(port)}/{slot}", f"{backend_name(port)}/{other_slot(slot)}"


def _rows(answer: str) -> list[Row]:
    """Parse the table in an answer: the last line that begins with "# " names its columns."""
    columns: list[str] = []
    rows: list[Row] = []
    for line in answer.splitlines():
        if line.startswith("# "):
            columns = line.removeprefix("# ").split()
        elif columns and line:
            rows.append(dict(zip(columns, line.split(), strict=False)))
    return rows


def _live(rows: list[Row]) -> list[Route]:
    return [
        Route(
            port=int(row["be_name"].rpartition("_")[2]),
            slot=row["srv_name"],
            address=join_address(row["srv_addr"], int(row["srv_port"])),
        )
        for row in rows
        # Other backends are not an app's.
        if row["be_name"].startswith("port_")
        and not _admin(row) & ~DECLARED_DISABLED
        and row.get("srv_uweight") != "0"
    ]


def _admin(row: Row) -> int:
    return int(row["srv_admin_state"])


def _said(answer: str) -> str:
    """Give the part of the answer before the table, on one line."""
    return " ".join(answer.partition("\n1\n# ")[0].split())[:300]
