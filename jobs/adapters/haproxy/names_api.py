"""Changes the domains and certificates of a running worker through HAProxy's runtime API."""

from collections.abc import Callable, Mapping

from pydantic import SecretStr

from jobs.adapters.haproxy.domains import (
    CERTIFICATE_LIST,
    CERTIFIED,
    Loaded,
    certified_entries,
    map_changes,
    read_certificates,
    show_map,
)
from jobs.errors import RouterError

Ask = Callable[..., str]


def fill_map(ask: Ask, name: str, wanted: Mapping[str, str]) -> None:
    """Change a map to these entries.

    Raises:
        RouterError: the router does not answer, or did not apply the change.
    """
    found = show_map(ask, name)
    # A router that serves no domains has no such map.
    if found is None or found == wanted:
        return
    said = [ask(*commands) for commands in map_changes(name, found, wanted)]
    if show_map(ask, name) != wanted:
        told = " ".join(" ".join(said).split())[:300]
        raise RouterError(f"the router did not take the entries of {name}: {told}")


def change_certificates(
    ask: Ask, wanted: Mapping[str, str], certificates: Mapping[str, SecretStr]
) -> None:
    """Serve exactly these certificates: add the new ones, then remove the old ones.

    Args:
        ask: asks the worker.
        wanted: the domain of each certificate's file.
        certificates: PEM with the key, by domain.

    Raises:
        RouterError: the router does not answer, or refuses a certificate.
    """
    loaded = loaded_certificates(ask)
    if loaded is None:
        return
    if loaded.unfinished:
        # Abort the unfinished upload, else HAProxy takes what follows for its content.
        ask(f"abort ssl cert {loaded.unfinished}")
    for file in wanted.keys() - loaded.listed.keys():
        _add_certificate(ask, file, wanted[file], certificates[wanted[file]])
    _show_only(ask, wanted)


def loaded_certificates(ask: Ask) -> Loaded | None:
    """Give the certificates that the worker has loaded; None without HTTPS."""
    return read_certificates(ask("show ssl cert", f"show ssl crt-list {CERTIFICATE_LIST}"))


def _show_only(ask: Ask, wanted: Mapping[str, str]) -> None:
    """Update the redirects and the list to the wanted certificates that could be loaded."""
    loaded = loaded_certificates(ask)
    if loaded is None:
        return
    refused = {domain for file, domain in wanted.items() if file not in loaded.listed}
    kept = {f for f, domain in loaded.listed.items() if f in wanted or domain in refused}
    fill_map(ask, CERTIFIED, certified_entries({loaded.listed[file]: file for file in kept}))
    for file in loaded.files - kept:
        ask(f"del ssl crt-list {CERTIFICATE_LIST} {file}", f"del ssl cert {file}")
    if refused:
        raise RouterError(f"the router refuses the certificate of {', '.join(sorted(refused))}")


def _add_certificate(ask: Ask, file: str, domain: str, pem: SecretStr) -> None:
    ask(f"new ssl cert {file}", f"set ssl cert {file}", payload=pem.get_secret_value())
    ask(
        f"commit ssl cert {file}",
        f"add ssl crt-list {CERTIFICATE_LIST}",
        payload=f"{file} {domain}",
    )
