"""Parses the tables of servers in the answers of HAProxy's runtime API. Pure."""

from jobs.adapters.haproxy.config import PORT_BACKENDS
from jobs.adapters.haproxy.syntax import join_address
from jobs.rules.container_values import Route

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


def admin(row: Row) -> int:
    """Give the bits that say which administrative state a server is in."""
    return int(row["srv_admin_state"])


def said(answer: str) -> str:
    """Give the part of the answer before the table, on one line."""
    return " ".join(answer.partition("\n1\n# ")[0].split())[:300]
