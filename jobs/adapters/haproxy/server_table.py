"""Parses the tables of servers in the answers of HAProxy's runtime API. Pure."""

from collections.abc import Iterable, Mapping

from jobs.adapters.haproxy.config import PORT_BACKENDS, backend_name, ensure_slot
from jobs.rules.container_values import Route, other_slot
from jobs.rules.ip_addresses import join_address

# The bits of `srv_admin_state`. DECLARED_DISABLED only says how the server was declared at start.
FORCED_MAINTENANCE = 0x01
DECLARED_DISABLED = 0x04

Row = dict[str, str]


def rows(answer: str) -> list[Row]:
    """Parse the table in an answer: the last line that begins with "# " names its columns."""
    columns: list[str] = []
    found: list[Row] = []
    for line in answer.splitlines():
        if line.startswith("# "):
            columns = line.removeprefix("# ").split()
        elif columns and line:
            found.append(dict(zip(columns, line.split(), strict=False)))
    return found


def live(table: list[Row]) -> list[Route]:
    """Give the route of each slot that gets requests."""
    return [
        Route(
            port=int(row["be_name"].rpartition("_")[2]),
            slot=row["srv_name"],
            address=join_address(row["srv_addr"], int(row["srv_port"])),
        )
        for row in table
        if row["be_name"].startswith(PORT_BACKENDS) and not admin(row) & ~DECLARED_DISABLED
    ]


def settled_routes(found: Iterable[Route], written: Mapping[int, Route | None]) -> dict[int, Route]:
    """Give the routes by port; one that is not settled equals no real one.

    Args:
        found: the running router's; two of one port are not settled.
        written: those in its files; a difference is not settled.
    """
    settled: dict[int, Route] = {}
    for route in found:
        settled[route.port] = _unsettled(route.port) if route.port in settled else route
    for port, route_in_file in written.items():
        if route_in_file != settled.get(port):
            settled[port] = _unsettled(port)
    return settled


def _unsettled(port: int) -> Route:
    return Route(port, "", "")


def admin(row: Row) -> int:
    """Give the bits that say which administrative state a server is in."""
    return int(row["srv_admin_state"])


def said(answer: str) -> str:
    """Give the part of the answer before the table, on one line."""
    return " ".join(answer.partition("\n1\n# ")[0].split())[:300]


def server_names(port: int, slot: str) -> tuple[str, str]:
    """Give the names that commands use for a port's slot and for its other slot."""
    ensure_slot(slot)
    return f"{backend_name(port)}/{slot}", f"{backend_name(port)}/{other_slot(slot)}"
