"""Asks a replaced release for the assets that the live one no longer has.

A page that was loaded just before a switch asks for files whose names hold a hash of their content,
and only the replaced release has them. While that release is kept warm, a GET or HEAD of one of its
asset paths goes to the backend `assets` instead of the app's own. That backend asks the live
release first; when the answer is 404, HAProxy repeats the request to the backend's other server
(`retry-on 404`), which leads to the warm release. Its answer goes to the visitor.

Both servers of that backend are doors of this same HAProxy, which lead on to the app's backend. So
two servers serve all apps, and the app's backend counts and drains these requests like all others.
The warm container keeps its slot there, in the state `drain`: only `use-server` reaches it.

| where | what |
|---|---|
| `assets.map` | `20017/assets/` and `20017/app.css?` → `20017:a`: the port, and the warm slot |
| frontend | finds the entry of a request, and sends the request to `assets` |
| backend `assets` | names port and slot in a header, and uses one door after the other |
| frontend `doors` | reads the header, removes it, and sends the request to the app's backend |

All other requests cost one look-up of a path in the map, which is empty while no container is warm.

Source: HAProxy 2.6 Configuration Manual, "retry-on", "option redispatch" and "balance first" (read
2026-11-30). Measured with HAProxy 2.6.12.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from jobs.adapters.haproxy.syntax import join_address, split_address
from jobs.rules.container_values import Warm

ASSETS = "assets.map"  # relative to the folder of the configuration
DOORS = "doors"
_HEADER = "X-Keystone-Asset"
_LIVE, _WARM = "live", "warm"
# A path never holds a question mark, so with one at its end an entry matches a whole path only.
_END = "?"
# Each request at a door takes a place of its own. Where no door is free, an old asset is not found.
_DOORS_SHARE = 8

_SECTIONS = """\
frontend {doors} from visitors
    bind abns@{name}-{live} name {live}
    bind abns@{name}-{warm} name {warm}
    timeout client 15m
    http-request set-var(txn.port) req.hdr({header}),field(1,:)
    http-request set-var(txn.warm_slot) req.hdr({header}),field(2,:) if {{ so_name {warm} }}
    http-request del-header {header}
    use_backend port_%[var(txn.port)]

defaults assets
    mode http
    timeout connect 5s
    timeout server 15m
    timeout tunnel 1h
    timeout server-fin 30s
    option abortonclose
    # Each request opens a door anew: after a reload only the newest worker is behind it.
    option http-server-close

backend assets from assets
    # The first server gets each request, and a repeated request avoids the server that had it.
    balance first
    option redispatch 1
    retries 1
    retry-on 404
    http-request set-header {header} %[var(txn.warm)]
    # A warm container that has ended is no reason to tell a visitor of an error.
    http-response return status 404 content-type text/plain hdr Cache-Control no-store \
string "Not found.\\n" if {{ srv_name {warm} }} {{ status 500:599 }}
    server {live} abns@{name}-{live}
    server {warm} abns@{name}-{warm}
"""


def sections(socket: Path) -> str:
    """Give the sections that ask one release after the other.

    Args:
        socket: the path of the runtime API's socket, which no other router has: the doors' names
            are visible to the whole machine.
    """
    name = f"keystone-{hashlib.sha256(str(socket).encode()).hexdigest()[:16]}"
    return _SECTIONS.format(doors=DOORS, name=name, header=_HEADER, live=_LIVE, warm=_WARM)


def frontend_rules(port: str) -> str:
    """Give a frontend's rules for asset requests; they come before those that select the app.

    Keystone's own health check is left out: it must see the answer of the live release.

    Args:
        port: the sample that gives the app's port.
    """
    return (
        f"    http-request set-var-fmt(txn.asked_path) %[{port}]%[path]{_END} if METH_GET !own\n"
        f"    http-request set-var(txn.warm) var(txn.asked_path),map_beg({ASSETS}) "
        "if METH_GET !own\n"
    )


def lead(*, places: int) -> str:
    """Give a frontend's rule that sends asset requests to the backend `assets`.

    Args:
        places: how many connections the router may hold.
    """
    return (
        "    use_backend assets if { var(txn.warm) -m found } "
        f"{{ fe_conn({DOORS}) lt {places // _DOORS_SHARE} }}\n"
    )


# In the backend of each port.
BACKEND_RULE = "    use-server %[var(txn.warm_slot)] if { var(txn.warm_slot) -m found }"


# Declares the slot of a warm container: without weight it is drained from the start.
WITHOUT_WEIGHT = " weight 0"


def warm_server(warm: Warm) -> str:
    """Give the line that declares the slot of a warm container."""
    return f"    server {warm.slot} {join_address(*split_address(warm.address))}{WITHOUT_WEIGHT}"


def warm_commands(server: str, warm: Warm) -> list[str]:
    """Give the commands by which a slot gets old assets only.

    Raises:
        RouterError: the address is invalid.
    """
    host, port = split_address(warm.address)
    return [f"set server {server} addr {host} port {port}", f"set server {server} state drain"]


def map_entries(warm: Warm) -> dict[str, str]:
    """Give the entries of the map of assets for one app."""
    return {_key(warm.port, path): f"{warm.port}:{warm.slot}" for path in sorted(warm.paths)}


def map_file(warm: Iterable[Warm]) -> str:
    """Give the content of the map's file."""
    entries = (item for each in warm for item in map_entries(each).items())
    return "".join(f"{key} {value}\n" for key, value in entries)


def changed_entries(
    port: int, entries: Mapping[str, str], wanted: Mapping[str, str]
) -> dict[str, str]:
    """Replace the entries of one port."""
    others = {key: value for key, value in entries.items() if not key.startswith(f"{port}/")}
    return {**others, **wanted}


def read_map_file(text: str) -> dict[str, str]:
    """Give the entries in the content of the map's file."""
    return dict(line.split(" ", 1) for line in text.splitlines())


def found_warm(
    entries: Mapping[str, str], addresses: Mapping[tuple[int, str], str]
) -> dict[int, Warm]:
    """Give the warm slots by port.

    Args:
        entries: the entries of the map of assets.
        addresses: the address of each port's slots; one that is missing cannot be reached.
    """
    found: dict[int, Warm] = {}
    for key, value in entries.items():
        text, _, slot = value.partition(":")
        port, path = int(text), _path(key.removeprefix(text))
        paths = found[port].paths if port in found else frozenset()
        found[port] = Warm(port, slot, addresses.get((port, slot), ""), paths | {path})
    return found


def settled(found: Mapping[int, Warm], written: Mapping[int, Warm]) -> dict[int, Warm]:
    """Empty the address where a router and its files differ, so that it equals no real one."""
    return {
        port: each if written.get(port) == found.get(port) else replace(each, address="")
        for port, each in {**written, **found}.items()
    }


def _key(port: int, path: str) -> str:
    return f"{port}{path.removesuffix('*') if path.endswith('*') else f'{path}{_END}'}"


def _path(text: str) -> str:
    return text.removesuffix(_END) if text.endswith(_END) else f"{text}*"
