"""Lets a worker that HAProxy's reload has replaced follow the switches that come after it.

After a reload the old worker still serves the connections that it has, and a visitor may send one
more request over an idle one. HAProxy refuses to change the servers of such a worker ("Proxy is
disabled"), but not its maps. So each switch adds the port's new address to the map `moved.map` of
the old workers. The map's file is always empty: a new worker reads the routes from its
configuration.
"""

from jobs.adapters.haproxy.syntax import NOWHERE, split_address

MOVED = "moved.map"
BACKEND = "moved"


def lookup(port: str) -> str:
    """Give a frontend's rule that looks up whether a port was switched since we were replaced.

    Args:
        port: the expression of the app's port.
    """
    return f"    http-request set-var(txn.moved) {port},map({MOVED})\n"


def leads() -> str:
    """Give the rule that leads such a port to its new address."""
    return f"    use_backend {BACKEND} if {{ var(txn.moved) -m found }}\n"


def backend() -> str:
    """Give the backend whose server is the address in `txn.moved`."""
    return (
        f"backend {BACKEND} from slots\n"
        "    http-request set-dst var(txn.moved),field(1,@)\n"
        "    http-request set-dst-port var(txn.moved),field(2,@)\n"
        "    server onwards 0.0.0.0:0\n"
    )


def commands(port: int, address: str | None) -> list[str]:
    """Give the commands that lead a port of an old worker to an address; None closes the port.

    Raises:
        RouterError: the address is invalid.
    """
    where = "@".join(map(str, NOWHERE if address is None else split_address(address)))
    return [f"del map {MOVED} {port}", f"add map {MOVED} {port} {where}"]
