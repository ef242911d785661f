"""Serves apps by host name: the parts of the router's configuration for domains. Pure.

The router looks up a request's host in a map, first the exact name, then with `*` in place of the
first label. The map's value is the app's port, whose backend gets the request. The runtime API
changes the map and the list of certificates while the router runs, never a reload. The router loads
the files at its start, so after a crash it serves all domains at once.

A certificate's file is named after a hash of its content. So a new certificate is added beside the
one it replaces before that one is removed, and every TLS handshake in between finds one of the two.
Also, the file names alone tell which certificates the router has and which it lacks.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from jobs.adapters.haproxy.moved import MOVED
from jobs.adapters.haproxy.syntax import lines
from jobs.errors import RouterError
from jobs.rules.domain_names import is_plain

# All relative to the folder of the configuration.
HOSTS = "hosts.map"  # a domain and the port of its app
CERTIFIED = "certified.map"  # the domains that have a certificate
CERTIFICATES = "certificates"
CERTIFICATE_LIST = "certificates.list"
DEFAULT = f"{CERTIFICATES}/default.pem"
# The domain of the default certificate, which no visitor can ask for.
NOBODY = "nobody.invalid"

MOST_CHANGES = 50  # in one line of commands, whose limit is 32 KiB

# --- Files -----------------------------------------------------------------------------------


def domain_files(
    domains: Mapping[str, int], certificates: Mapping[str, SecretStr], default: SecretStr
) -> dict[str, SecretStr]:
    """Give the files that the configuration refers to, by their paths relative to it.

    Args:
        domains: the port of each domain's app.
        certificates: PEM with the key, by domain.
        default: a certificate for no real domain, also PEM with its key.

    Raises:
        RouterError: a name is not a valid domain.
    """
    listed = {certificate_file(domain, pem): domain for domain, pem in certificates.items()}
    lists = {
        MOVED: "",
        HOSTS: lines(host_entries(domains)),
        CERTIFIED: lines(certified_entries(certificates)),
        CERTIFICATE_LIST: lines({DEFAULT: NOBODY, **listed}),
    }
    pems = {certificate_file(domain, pem): pem for domain, pem in certificates.items()}
    return {name: SecretStr(text) for name, text in lists.items()} | {DEFAULT: default} | pems


def host_entries(domains: Mapping[str, int]) -> dict[str, str]:
    """Give the entries of the map of hosts."""
    return {_ensured(domain): str(port) for domain, port in domains.items()}


def certified_entries(domains: Mapping[str, object]) -> dict[str, str]:
    """Give the entries of the map of the domains that have a certificate."""
    return {_ensured(domain): "yes" for domain in domains}


def certificate_file(domain: str, pem: SecretStr) -> str:
    """Give the file name of a domain's certificate; different contents have different names."""
    told = f"{_ensured(domain)}\n{pem.get_secret_value()}"
    return f"{CERTIFICATES}/{hashlib.sha256(told.encode()).hexdigest()}.pem"


def _ensured(domain: str) -> str:
    if not is_plain(domain):
        raise RouterError(f"{domain!r} is not a domain the router can serve")
    return domain


# --- Commands --------------------------------------------------------------------------------


def map_changes(
    name: str, found: Mapping[str, str], wanted: Mapping[str, str]
) -> Iterator[list[str]]:
    """Give the commands that change a map to the wanted entries, in batches that fit on a line."""
    changes = [f"del map {name} {key}" for key in found.keys() - wanted.keys()]
    for key in sorted(wanted):
        if key not in found:
            changes.append(f"add map {name} {key} {wanted[key]}")
        elif found[key] != wanted[key]:
            changes.append(f"set map {name} {key} {wanted[key]}")
    for first in range(0, len(changes), MOST_CHANGES):
        yield changes[first : first + MOST_CHANGES]


def read_map(name: str, answer: str) -> dict[str, str] | None:
    """Parse the answer to `show map` and `show map NAME`; None when there is no such map."""
    if f" ({name}) " not in answer:
        return None
    rows = (line.split() for line in answer.splitlines() if line.startswith("0x"))
    return {row[1]: row[2] for row in rows}


def show_map(ask: Callable[..., str], name: str) -> dict[str, str] | None:
    """Ask the runtime API for the entries of a map; None when there is no such map."""
    return read_map(name, ask("show map", f"show map {name}"))


@dataclass(frozen=True)
class Loaded:
    """The certificates that the router has loaded, besides the default one."""

    listed: Mapping[str, str]  # the domain that each file is served for
    files: frozenset[str]  # all files, including those that are not (or not yet) listed
    unfinished: str | None  # the file of an upload that has begun and was not committed


def read_certificates(answer: str) -> Loaded | None:
    """Parse the answer to `show ssl cert` and `show ssl crt-list`; None without HTTPS."""
    if f"# {CERTIFICATE_LIST}" not in answer.splitlines():
        return None
    rows = [line.split() for line in answer.splitlines() if line and not line.startswith("#")]
    begun = [row[0].removeprefix("*") for row in rows if row[0].startswith("*")]
    listed = {row[0]: row[1] for row in rows if len(row) > 1 and _is_ours(row[0])}
    return Loaded(
        listed=listed,
        files=frozenset(row[0] for row in rows if _is_ours(row[0])),
        unfinished=begun[0] if begun else None,
    )


def _is_ours(file: str) -> bool:
    return file.startswith(f"{CERTIFICATES}/") and file != DEFAULT
