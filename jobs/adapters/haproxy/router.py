"""A client of HAProxy's runtime API over its Unix socket; the only code that talks to the router.

A call is one connection, one line of commands and the whole answer. HAProxy has no error codes,
only sentences. This code does not interpret them: every line of commands ends with a query of the
resulting state, which decides whether the commands succeeded.

Source: HAProxy 2.6 Management Guide, section 9.3, "Unix Socket commands" (read 2026-11-23).
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from jobs.adapters.haproxy import moved
from jobs.adapters.haproxy.config import DESCRIPTION, SLOTS, backend_name, ensure_slot
from jobs.adapters.haproxy.domains import HOSTS, certificate_file, host_entries
from jobs.adapters.haproxy.files import RouterFiles
from jobs.adapters.haproxy.names_api import change_certificates, fill_map, loaded_certificates
from jobs.adapters.haproxy.own_address import BACKEND, CONFIGURED, WEB
from jobs.adapters.haproxy.patience import patiently
from jobs.adapters.haproxy.requests import UNBELIEVED
from jobs.adapters.haproxy.runtime_api import RuntimeApi, older_apis
from jobs.adapters.haproxy.server_table import (
    FORCED_MAINTENANCE,
    admin,
    live,
    rows,
    said,
    server_names,
    settled_routes,
)
from jobs.adapters.haproxy.syntax import NOWHERE, split_address
from jobs.adapters.haproxy.warm_slots import WarmSlots
from jobs.errors import PortNotServedError, RouterError
from jobs.rules.container_values import Route

logger = logging.getLogger(__name__)

_TABLE_KEY = re.compile(r"^0x\w+: key=(\S+)", re.MULTILINE)


class HAProxyRouter(WarmSlots):
    """A running HAProxy with a configuration that `jobs.adapters.haproxy.config` has generated.

    It holds no connection, so any thread or process may use it. Every change is made in the running
    router first and then in the files, within the lock of the files. Until the files are changed,
    `routes` gives a route that equals no real one, so that an interrupted change is repeated.

    Args:
        socket_path: the socket of the runtime API.
        master: the socket of HAProxy's master, behind which the workers from before a reload are.
        files: the files that the router reads at a start or a reload; None: nobody reads them.
        timeout_s: the timeout of one answer.
        patience_s: how long to retry when the router does not answer, while it is restarted. All
            calls are idempotent.
    """

    def __init__(
        self,
        socket_path: Path,
        *,
        master: Path | None = None,
        files: RouterFiles | None = None,
        timeout_s: float = 2.0,
        patience_s: float = 0.0,
    ) -> None:
        self._ask = RuntimeApi(socket_path, timeout_s=timeout_s).ask
        self._master = master
        self._files = files
        self._timeout_s = timeout_s
        self.patience_s = patience_s

    @patiently
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
        return self.description().partition(" ")[0] == DESCRIPTION

    @patiently
    def description(self) -> str:
        """Give what the running configuration says of itself, as `description_of` its text does.

        Raises:
            RouterError: no router answers.
        """
        return self._info().get("description", "")

    @patiently
    def unbelieved_proxies(self) -> list[str]:
        """List untrusted private addresses that sent X-Forwarded-For within the last day.

        Raises:
            RouterError: no router answers.
        """
        answer = self._ask(f"show table {UNBELIEVED}")
        return sorted(key.removeprefix("::ffff:") for key in _TABLE_KEY.findall(answer))

    @patiently
    def switch(self, route: Route) -> None:
        """Send all new requests of the port to the route's slot, and drain the other slot.

        Idempotent. The new slot is ready before the old slot drains.

        Raises:
            PortNotServedError: the router does not listen on the port.
            RouterError: the address is invalid, or the router does not answer.
        """
        ensure_slot(route.slot)
        split_address(route.address)
        with self._changing() as files:
            # The former live container is the warm one from this moment on, if one is wanted.
            turn = self._turn_warm(route)
            self._switch(route, turn)
            self._ask_older([*moved.commands(route.port, route.address), *turn])
            if files:
                files.switch(route)

    def _switch(self, route: Route, turn: Iterable[str] = ()) -> None:
        host, port = split_address(route.address)
        new, old = server_names(route.port, route.slot)
        answer = self._ask(
            f"set server {new} addr {host} port {port}",
            f"set server {new} state ready",
            f"set server {old} state drain",
            *turn,
            f"show servers state {backend_name(route.port)}",
        )
        table = rows(answer)
        if not table:
            raise PortNotServedError(
                f"the router does not listen on port {route.port}: another program had it when "
                "the router was started; end that program and start Keystone again"
            )
        if live(table) != [route]:
            raise RouterError(f"the router did not switch port {route.port}: {said(answer)}")

    @patiently
    def in_flight(self, port: int, slot: str) -> int:
        """Count the requests and tunnels that the slot still serves; idle visitors do not count.

        Raises:
            RouterError: the router does not answer.
        """
        server, _ = server_names(port, slot)
        command = f"show servers conn {backend_name(port)}"
        with self._looking():
            answers = [self._ask(command), *self._ask_older([command])]
        return sum(
            int(row["used_cur"])
            for answer in answers
            for row in rows(answer)
            if row.get("bkname/svname") == server
        )

    @patiently
    def detach(self, port: int, slot: str) -> None:
        """Disable one slot and cut its remaining connections. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not disable the slot.
        """
        ensure_slot(slot)
        with self._changing() as files:
            self._disable(port, (slot,))
            if files:
                files.detach(port, slot)

    @patiently
    def close(self, port: int) -> None:
        """Disable both slots: the port answers 503. An unknown port is fine.

        Raises:
            RouterError: the router does not answer, or did not disable the slots.
        """
        with self._changing() as files:
            self._disable(port, SLOTS)
            self._ask_older(moved.commands(port, None))
            if files:
                files.close(port)

    @patiently
    def routes(self) -> dict[int, Route]:
        """Give the current routes by port.

        A port where a change was interrupted has a route without slot and address, which must be
        put right: both of its slots are ready, or the files say something else.

        Raises:
            RouterError: the router does not answer.
        """
        with self._looking() as files:
            answer = self._ask("show servers state")
            written = files.routes() if files else {}
        return settled_routes(live(rows(answer)), written)

    @patiently
    def serve_domains(self, domains: Mapping[str, int]) -> None:
        """Route exactly these domains to their apps' ports, without interrupting any of them.

        Raises:
            RouterError: the router does not answer, or did not apply the change.
        """
        wanted = host_entries(domains)
        with self._changing() as files:
            self._fill_all(HOSTS, wanted)
            if files:
                files.serve_domains(domains)

    @patiently
    def serve_certificates(self, certificates: Mapping[str, SecretStr]) -> None:
        """Serve exactly these certificates: add the new ones, then remove the old ones.

        Raises:
            RouterError: the router does not answer, or refuses a certificate. It serves the other
                certificates then, and for the refused one's domain the previous certificate.
        """
        wanted = {certificate_file(domain, pem): domain for domain, pem in certificates.items()}
        with self._changing() as files:
            try:
                change_certificates(self._ask, wanted, certificates)
            finally:
                if files and (loaded := loaded_certificates(self._ask)):
                    pems = {file: certificates[domain] for file, domain in wanted.items()}
                    files.serve_certificates(loaded.listed, pems)

    @patiently
    def hold(self) -> None:
        """Let requests for Keystone's own address wait, up to 9 s each; see `own_address`.

        Raises:
            RouterError: the router does not answer, or did not hold them.
        """
        if self._own_servers():
            self._point_web_to(*NOWHERE)

    @patiently
    def release(self) -> None:
        """Pass requests for Keystone's own address on to the web process again.

        Raises:
            RouterError: the router does not answer, or did not release them.
        """
        servers = self._own_servers()
        if servers and servers[WEB] != servers[CONFIGURED]:
            self._point_web_to(*servers[CONFIGURED])

    def _own_servers(self) -> dict[str, tuple[str, int]]:
        """Give the addresses of the two servers; none if the router does not serve the address."""
        table = rows(self._ask(f"show servers state {BACKEND}"))
        return {row["srv_name"]: (row["srv_addr"], int(row["srv_port"])) for row in table}

    def _point_web_to(self, host: str, port: int) -> None:
        answer = self._ask(f"set server {BACKEND}/{WEB} addr {host} port {port}")
        if self._own_servers().get(WEB) != (host, port):
            raise RouterError(f"the router did not take Keystone's address: {said(answer)}")

    def _info(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self._ask("show info").splitlines())
        return {name: value.strip() for name, _, value in lines}

    # --- Files and older workers -------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[RouterFiles | None]:
        """Hold the lock of the files, and give those that exist."""
        if self._files is None or not self._files.exist():
            yield None
        else:
            with self._files.locked():
                yield self._files

    @contextmanager
    def _looking(self) -> Iterator[RouterFiles | None]:
        """Wait until no change or reload is under way, and give the files that exist."""
        if self._files is None or not self._files.exist():
            yield None
        else:
            with self._files.locked(shared=True):
                yield self._files

    def _older(self) -> dict[int, RuntimeApi]:
        return older_apis(self._master, timeout_s=self._timeout_s)

    def _ask_older(self, commands: Iterable[str]) -> list[str]:
        """Ask all workers from before the last reloads; one that ends meanwhile gives no answer."""
        answers = []
        for pid, api in self._older().items():
            try:
                answers.append(api.ask(*commands))
            except RouterError as exc:
                _note_older(pid, exc)
        return answers

    def _fill_all(self, name: str, wanted: Mapping[str, str]) -> None:
        """Change a map of this worker, and of those from before the last reloads."""
        fill_map(self._ask, name, wanted)
        for pid, api in self._older().items():
            try:
                fill_map(api.ask, name, wanted)
            except RouterError as exc:
                _note_older(pid, exc)

    def _disable(self, port: int, slots: Iterable[str]) -> None:
        servers = [server_names(port, slot)[0] for slot in slots]
        commands = [f"set server {server} state maint" for server in servers]
        commands += [f"shutdown sessions server {server}" for server in servers]
        answer = self._ask(*commands, f"show servers state {backend_name(port)}")
        for row in rows(answer):
            if row["srv_name"] in slots and not admin(row) & FORCED_MAINTENANCE:
                raise RouterError(f"the router did not close port {port}: {said(answer)}")


def _note_older(pid: int, exc: RouterError) -> None:
    logger.info("the router's former worker %d: %s", pid, exc, extra={"action": "worker_gone"})
