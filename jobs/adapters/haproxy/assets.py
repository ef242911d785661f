"""Asks a replaced release for the assets that the live one no longer has.

A page that was loaded just before a switch asks for files whose names hold a hash of their content,
and only the replaced release has them. While that release is kept warm, a GET or HEAD of one of its
asset paths goes to the backend `assets` instead of the app's own. That backend asks the live
release first; when the answer is 404, HAProxy repeats the request to the backend's other server
(`retry-on 404`), which leads to the warm release. Its answer goes to the visitor.

Both servers of that backend are doors of this same HAProxy: one leads on to the app's own backend,
which counts and drains the request like all others; the other one to the backend `warm`. So two
servers serve all apps.

| where | what |
|---|---|
| `assets.map` | the asset paths: `20017/assets/` and `20017/app.css?` → `20017`, the port |
| `warm.map` | `20017` → `20017@b@10.201.0.2@8000`: the live slot, and the warm address |
| frontend | finds both entries of a request, and sends the request to `assets` |
| backend `assets` | passes the second entry on in a header, through one door after the other |
| frontend `doors` | reads the header, removes it, and sends the request on |

A switch changes the entry of `warm.map` in the same moment. A request keeps to the slot and the
address that it found at its beginning, so it reaches both releases even if a switch comes between.

Requests for an app without a warm container cost one look-up of its port.

Source: HAProxy 2.6 Configuration Manual, "retry-on", "option redispatch" and "balance first" (read
2026-11-30). Measured with HAProxy 2.6.12.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from jobs.adapters.haproxy.syntax import TO_CONTAINERS, lines, split_address
from jobs.rules.container_values import Route, Warm
from jobs.rules.ip_addresses import join_address

PATHS, WARM = "assets.map", "warm.map"  # relative to the folder of the configuration
DOORS = "doors"
_HEADER = "X-Keystone-Asset"
_LIVE_DOOR, _WARM_DOOR = "live", "warm"
# A path never holds a question mark, so with one at its end an entry matches a whole path only.
_END = "?"
_SEPARATOR = "@"
# Each request at a door takes a place of its own. Where no door is free, an old asset is not found.
_DOORS_SHARE = 8

_SECTIONS = """\
frontend {doors} from visitors
    bind abns@{name}-{live} name {live}
    bind abns@{name}-{warm} name {warm}
    timeout client 15m
    acl is_live so_name {live}
    http-request set-var(txn.warm) req.fhdr({header})
    http-request del-header {header}
    http-request set-var(txn.port) var(txn.warm),field(1,{separator})
    http-request set-var(txn.slot) var(txn.warm),field(2,{separator}) if is_live
    use_backend warm unless is_live
    use_backend port_%[var(txn.port)]

defaults assets
    mode http
{to_containers}\
    # Each request opens a door anew: after a reload only the newest worker is behind it.
    option http-server-close
    option redispatch 1
    retries 1

backend assets from assets
    # The first server gets each request, and a repeated request avoids the server that had it.
    balance first
    retry-on 404
    http-request set-header {header} %[var(txn.warm)]
    # A warm container that has ended is no reason to tell a visitor of an error.
    http-response return status 404 content-type text/plain hdr Cache-Control no-store \
string "Not found.\\n" if {{ srv_name {warm} }} {{ status 500:599 }}
    server {live} abns@{name}-{live}
    server {warm} abns@{name}-{warm}

backend warm from assets
    http-request set-dst var(txn.warm),field(3,{separator})
    http-request set-dst-port var(txn.warm),field(4,{separator})
    server kept 0.0.0.0:0
"""


def sections(socket: Path) -> str:
    """Give the sections that ask one release after the other.

    Args:
        socket: the path of the runtime API's socket, which no other router has: the doors' names
            are visible to the whole machine.
    """
    return _SECTIONS.format(
        doors=DOORS,
        name=f"keystone-{hashlib.sha256(str(socket).encode()).hexdigest()[:16]}",
        header=_HEADER,
        live=_LIVE_DOOR,
        warm=_WARM_DOOR,
        separator=_SEPARATOR,
        to_containers=TO_CONTAINERS,
    )


def frontend_rules(port: str) -> str:
    """Give a frontend's rules that recognise asset requests.

    Keystone's own health check is left out: it must see the answer of the live release.

    Args:
        port: the sample that gives the app's port.
    """
    # The cheapest question first: of most apps no container is warm.
    return (
        f"    http-request set-var(txn.warm) {port},map({WARM})\n"
        f"    http-request set-var-fmt(txn.asked_path) %[{port}]%[path]{_END} "
        "if { var(txn.warm) -m found } METH_GET !own\n"
        f"    http-request set-var(txn.asset) var(txn.asked_path),map_beg({PATHS}) "
        "if { var(txn.asked_path) -m found }\n"
    )


def lead(*, places: int) -> str:
    """Give a frontend's rule that sends asset requests to the backend `assets`.

    Args:
        places: how many connections the router may hold.
    """
    return (
        "    use_backend assets if { var(txn.asset) -m found } "
        f"{{ fe_conn({DOORS}) lt {places // _DOORS_SHARE} }}\n"
    )


# In the backend of each port: a request from a door goes to the slot that was live at its
# beginning, even if that is drained by now.
BACKEND_RULE = "    use-server %[var(txn.slot)] if { var(txn.slot) -m found }"


# --- Entries ---------------------------------------------------------------------------------


def turned(before: Route | None, route: Route, warm: Mapping[str, str]) -> dict[str, str]:
    """Give the entry of `warm.map` that a switch changes: the former live address is warm then.

    Args:
        before: the live route; None: there is none.
        route: the new one.
        warm: the entries.
    """
    key = str(route.port)
    if key not in warm or before is None or before == route:
        return {}
    return {key: _entry(route.port, route.slot, before.address)}


def changed_paths(
    port: int, entries: Mapping[str, str], paths: Iterable[str], *, keep: bool = False
) -> dict[str, str]:
    """Replace the entries of one port in `assets.map`, or add to them."""
    others = {key: value for key, value in entries.items() if keep or value != str(port)}
    return {**others, **{_key(port, path): str(port) for path in sorted(paths)}}


def changed_warm(port: int, entries: Mapping[str, str], warm: Warm | None) -> dict[str, str]:
    """Replace the entry of one port in `warm.map`."""
    others = {key: value for key, value in entries.items() if key != str(port)}
    if warm is not None:
        others[str(port)] = _entry(port, warm.live_slot, warm.address)
    return others


def map_files(warm: Iterable[Warm]) -> dict[str, str]:
    """Give the content of the maps' files."""
    paths: dict[str, str] = {}
    entries: dict[str, str] = {}
    for each in warm:
        paths = changed_paths(each.port, paths, each.paths)
        entries = changed_warm(each.port, entries, each)
    return {PATHS: lines(paths), WARM: lines(entries)}


def read_file(text: str) -> dict[str, str]:
    """Give the entries in the content of a map's file."""
    return dict(line.split(" ", 1) for line in text.splitlines())


def found_warm(paths: Mapping[str, str], entries: Mapping[str, str]) -> dict[int, Warm]:
    """Give the warm containers by port.

    Args:
        paths: the entries of `assets.map`.
        entries: the entries of `warm.map`.
    """
    of_port: dict[str, set[str]] = {}
    for key, port in paths.items():
        of_port.setdefault(port, set()).add(_path(key.removeprefix(port)))
    found = {}
    for text in of_port.keys() | entries.keys():
        slot, address = _read_entry(entries.get(text, ""))
        found[int(text)] = Warm(int(text), slot, address, frozenset(of_port.get(text, ())))
    return found


def settled(found: Mapping[int, Warm], written: Mapping[int, Warm]) -> dict[int, Warm]:
    """Empty the address where a router and its files differ, so that it equals no real one."""
    return {
        port: each if written.get(port) == found.get(port) else replace(each, address="")
        for port, each in {**written, **found}.items()
    }


def _entry(port: int, live_slot: str, address: str) -> str:
    return _SEPARATOR.join((str(port), live_slot, *map(str, split_address(address))))


def _read_entry(value: str) -> tuple[str, str]:
    """Give the live slot and the warm address."""
    if not value:
        return "", ""
    _, slot, host, port = value.split(_SEPARATOR)
    return slot, join_address(host, int(port))


def _key(port: int, path: str) -> str:
    return f"{port}{path.removesuffix('*') if path.endswith('*') else f'{path}{_END}'}"


def _path(text: str) -> str:
    return text.removesuffix(_END) if text.endswith(_END) else f"{text}*"
