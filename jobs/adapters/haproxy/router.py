"""The router at work: HAProxy's runtime API over its Unix socket. Nothing else speaks to it.

A call is one connection, one line of commands and the whole answer. HAProxy has no error codes,
only sentences, so its words decide nothing here: every line of commands ends by asking for the
state that came of it, and that is what is judged.

Source: HAProxy 2.6 Management Guide, section 9.3, "Unix Socket commands" (read 2026-11-23).
"""

import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

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
from jobs.rules.container_values import Route, other_slot

RETRY_PAUSE_S = 0.1
# A thousand ports make 140 kB.
LONGEST_ANSWER = 16 * 1024 * 1024

# Asked last: an answer that does not end with the answer to this was cut off, with the router.
LAST_WORDS = "show cli level"
_END = re.compile(r"\n\n\Z")
_TABLE_KEY = re.compile(r"^0x\w+: key=(\S+)", re.MULTILINE)
_LAST_ANSWER = re.compile(r"(?:\A|\n)(?:admin|operator|user)\n\n\Z")

# The bits of `srv_admin_state`. The last only remembers how the server was declared at start.
FORCED_MAINTENANCE = 0x01
DECLARED_DISABLED = 0x04

Row = dict[str, str]


class HAProxyRouter:
    """A running HAProxy whose configuration `jobs.adapters.haproxy.config` has made.

    Holds no connection, so that any thread or process may use one.

    Args:
        timeout_s: how long one answer may take.
        patience_s: how long a router that does not answer may take to be started again. Every
            call may be made twice: doing it again changes nothing.
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
        """Whether its configuration is one that this version of Keystone has made.

        Raises:
            RouterError: no router answers.
        """
        return self._info().get("description") == DESCRIPTION

    def unbelieved_proxies(self) -> list[str]:
        """List addresses nearby that sent X-Forwarded-For within a day and are not trusted.

        Raises:
            RouterError: no router answers.
        """
        answer = self._ask(f"show table {UNBELIEVED}")
        return sorted(key.removeprefix("::ffff:") for key in _TABLE_KEY.findall(answer))

    def switch(self, route: Route) -> None:
        """Send all new requests of the port to the route's slot and let the other one drain.

        Doing it again changes nothing. The new slot is ready before the old one drains.

        Raises:
            PortNotServedError: the port is not one the router listens on.
            RouterError: the address is none, or the router does not answer.
        """
        host, port = split_address(route.address)
        new, old = _servers(route.port, route.slot)
        answer = self._ask(
            f"set server {new} addr {host} port {port}",
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
        """Count the requests and tunnels that slot still serves; idle visitors do not count.

        Raises:
            RouterError: the router does not answer.
        """
        server, _ = _servers(port, slot)
        for row in _rows(self._ask(f"show servers conn {backend_name(port)}")):
            if row.get("bkname/svname") == server:
                return int(row["used_cur"])
        return 0

    def detach(self, port: int, slot: str) -> None:
        """Take one slot out of use and cut what it still serves. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not do it.
        """
        ensure_slot(slot)
        self._disable(port, (slot,))

    def close(self, port: int) -> None:
        """Take both slots out of use: the port answers 503. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not do it.
        """
        self._disable(port, SLOTS)

    def routes(self) -> dict[int, Route]:
        """Give what the router does now, by port.

        A port where both slots are ready is left out: a switch was cut off there half-way, and
        wants to be done again.

        Raises:
            RouterError: the router does not answer.
        """
        by_port: dict[int, list[Route]] = {}
        for route in _live(_rows(self._ask("show servers state"))):
            by_port.setdefault(route.port, []).append(route)
        return {port: found[0] for port, found in by_port.items() if len(found) == 1}

    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Have exactly these domains lead to their apps' ports; none is ever left out meanwhile.

        Raises:
            RouterError: the router does not answer, or did not do it.
        """
        self._fill(HOSTS, host_entries(domains))

    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Show exactly these certificates: new ones first, and only then away with the old ones.

        Raises:
            RouterError: the router does not answer, or refuses one; the others are shown then,
                and of its domain the one that was there before.
        """
        wanted = {certificate_file(domain, pem): domain for domain, pem in certificates.items()}
        loaded = self._loaded()
        if loaded is None:
            return
        if loaded.unfinished:
            # Whatever came next would be taken for its content.
            self._ask(f"abort ssl cert {loaded.unfinished}")
        for file in wanted.keys() - loaded.listed.keys():
            self._add_certificate(file, wanted[file], certificates[wanted[file]])
        self._show_only(wanted)

    def _info(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self._ask("show info").splitlines())
        return {name: value.strip() for name, _, value in lines}

    def _show_only(self, wanted: Mapping[str, str]) -> None:
        """Bring redirects and the list in line with what could be loaded of what is wanted."""
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

    def _fill(self, name: str, wanted: Mapping[str, str]) -> None:
        found = self._map(name)
        # A router that serves no domains has no map of them.
        if found is None or found == wanted:
            return
        said = [self._ask(*commands) for commands in map_changes(name, found, wanted)]
        if self._map(name) != wanted:
            told = " ".join(" ".join(said).split())[:300]
            raise RouterError(f"the router did not take the domains: {told}")

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
        """Have the commands carried out in order, and give all that was answered.

        Args:
            payload: text for the last command; HAProxy takes it to end at its first empty line.
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
    """Give an answer, without the one to our last words.

    Raises:
        ConnectionError: the router has ended in the middle of it.
    """
    ending = _LAST_ANSWER if has_last_words else _END
    if not ending.search(answer):
        raise ConnectionError("it ended in the middle of its answer")
    return ending.sub("\n", answer)


def _servers(port: int, slot: str) -> tuple[str, str]:
    """Name a port's slot, and the other one, as commands do."""
    ensure_slot(slot)
    return f"{backend_name(port)}/{slot}", f"{backend_name(port)}/{other_slot(slot)}"


def _rows(answer: str) -> list[Row]:
    """Read the table in an answer: the last line that begins with "# " names its columns."""
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
        if not _admin(row) & ~DECLARED_DISABLED
    ]


def _admin(row: Row) -> int:
    return int(row["srv_admin_state"])


def _said(answer: str) -> str:
    """Give what the router answered before the table, on one line."""
    return " ".join(answer.partition("\n1\n# ")[0].split())[:300]
