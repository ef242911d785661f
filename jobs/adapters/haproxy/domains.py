"""Serving apps by host name: what of the router's configuration is about domains. Pure.

The host of a request is looked up in a map, as it is and then with `*` in place of its first label;
what stands there is the app's port, and that port's backend gets the request. Map and list of
certificates are changed through the runtime API while the router runs, never with a reload; the
files are what it begins with, so that after a crash it is complete at once.

A certificate's file is named after what is in it. A new one is so added beside the one it replaces,
before that is taken away: every handshake in between finds one or the other. It also means that
names alone tell what the router has and what it lacks.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from jobs.errors import RouterError
from jobs.rules.domain_names import is_plain

# All relative to the folder of the configuration.
HOSTS = "hosts.map"  # a domain and the port of its app
CERTIFIED = "certified.map"  # the domains that have a certificate
CERTIFICATES = "certificates"
CERTIFICATE_LIST = "certificates.list"
DEFAULT = f"{CERTIFICATES}/default.pem"
# What the default one is listed for, so that nobody is ever shown it.
NOBODY = "nobody.invalid"

MOST_CHANGES = 50  # in one line of commands, which may have 32 KiB

# --- Files -----------------------------------------------------------------------------------


def domain_files(
    domains: Mapping[str, int], certificates: Mapping[str, SecretStr], default: SecretStr
) -> dict[str, SecretStr]:
    """Give the files the configuration speaks of, by their names relative to it.

    Args:
        domains: the port of the app that each domain belongs to.
        certificates: PEM with the key, by domain.
        default: a certificate of nobody's, also PEM with its key.

    Raises:
        RouterError: something is no domain.
    """
    listed = {certificate_file(domain, pem): domain for domain, pem in certificates.items()}
    lists = {
        HOSTS: _lines(host_entries(domains)),
        CERTIFIED: _lines(certified_entries(certificates)),
        CERTIFICATE_LIST: _lines({DEFAULT: NOBODY, **listed}),
    }
    pems = {certificate_file(domain, pem): pem for domain, pem in certificates.items()}
    return {name: SecretStr(text) for name, text in lists.items()} | {DEFAULT: default} | pems


def host_entries(domains: Mapping[str, int]) -> dict[str, str]:
    """Give what the map of hosts must hold."""
    return {_ensured(domain): str(port) for domain, port in domains.items()}


def certified_entries(domains: Mapping[str, object]) -> dict[str, str]:
    """Give what the map of the domains with a certificate must hold."""
    return {_ensured(domain): "yes" for domain in domains}


def certificate_file(domain: str, pem: SecretStr) -> str:
    """Name the file of a domain's certificate, differently for whatever else is in it."""
    told = f"{_ensured(domain)}\n{pem.get_secret_value()}"
    return f"{CERTIFICATES}/{hashlib.sha256(told.encode()).hexdigest()}.pem"


def _ensured(domain: str) -> str:
    if not is_plain(domain):
        raise RouterError(f"{domain!r} is not a domain the router can serve")
    return domain


def _lines(entries: Mapping[str, str]) -> str:
    return "".join(f"{name} {value}\n" for name, value in entries.items())


# --- Commands --------------------------------------------------------------------------------


def map_changes(
    name: str, found: Mapping[str, str], wanted: Mapping[str, str]
) -> Iterator[list[str]]:
    """Give the commands that make a map hold what is wanted, as many at once as fit a line."""
    changes = [f"del map {name} {key}" for key in found.keys() - wanted.keys()]
    for key in sorted(wanted):
        if key not in found:
            changes.append(f"add map {name} {key} {wanted[key]}")
        elif found[key] != wanted[key]:
            changes.append(f"set map {name} {key} {wanted[key]}")
    for first in range(0, len(changes), MOST_CHANGES):
        yield changes[first : first + MOST_CHANGES]


def read_map(name: str, answer: str) -> dict[str, str] | None:
    """Read what `show map` and `show map NAME` answer; None when the router has no such map."""
    if f" ({name}) " not in answer:
        return None
    rows = (line.split() for line in answer.splitlines() if line.startswith("0x"))
    return {row[1]: row[2] for row in rows}


@dataclass(frozen=True)
class Loaded:
    """The certificates the router has, besides the default one."""

    listed: Mapping[str, str]  # the domain that each file is shown for
    files: frozenset[str]  # all, also those that are not (or not yet) listed
    unfinished: str | None  # the file that somebody has begun to fill


def read_certificates(answer: str) -> Loaded | None:
    """Read what `show ssl cert` and `show ssl crt-list` answer; None when there is no HTTPS."""
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
