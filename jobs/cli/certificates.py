"""`keystone certificate`: set, list and remove the TLS certificates of domains."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.console import (
    AsJson,
    Removed,
    actor,
    open_to_change,
    open_to_read,
    show_done,
    show_json,
    show_table,
)
from jobs.errors import ConfigurationError, Mistake
from jobs.reads.domains import Doors, certificate_views, find_doors
from jobs.reads.views import CertificateView, Page
from jobs.records.certificates import remove_certificate, set_certificate
from jobs.rules.certificates import read_bundle
from jobs.rules.domain_names import plain_domain
from jobs.storage.models import now
from jobs.system.small_files import read_small

commands = typer.Typer(rich_markup_mode=None)
certificate = typer.Typer(no_args_is_help=True)
commands.add_typer(
    certificate, name="certificate", help="Set, list and remove the certificates of domains."
)

Domain = Annotated[
    str, typer.Argument(metavar="DOMAIN", help="Like app.example.com or *.example.com.")
]
# Larger than any chain, so that a wrong file is not read into memory.
LONGEST_FILE = 1024 * 1024


@certificate.command("set")
def change(
    domain: Domain,
    *,
    certificate: Annotated[
        Path, typer.Option(help="PEM: the domain's certificate, then the intermediate ones.")
    ],
    key: Annotated[Path, typer.Option(help="PEM: its private key, without a passphrase.")],
    as_json: AsJson = False,
) -> None:
    """Set or replace the certificate of a domain; no request fails meanwhile."""
    keystone = open_to_change()
    name = _parsed(domain)
    bundle = read_bundle(
        name, certificate=_read("certificate", certificate), key=_read("key", key), at=now()
    )
    with keystone.database.writing() as session:
        set_certificate(session, name, bundle, actor(), vault=keystone.vault)
        session.flush()
        doors = find_doors(session)
        views = certificate_views(session, public_url=keystone.settings.public_url)
        view = next(view for view in views if view.domain == name)
    told = (
        f"{name} has a certificate that is valid until {bundle.not_after:%Y-%m-%d}; "
        f"{_when_it_is_shown(doors)}"
    )
    show_done(told, view, as_json=as_json)


def _when_it_is_shown(doors: Doors) -> str:
    if "https" in doors.ports:
        return "the router shows it within seconds."
    return "the router does not serve HTTPS: `keystone doctor` says why."


@certificate.command("list")
def list_certificates(*, as_json: AsJson = False) -> None:
    """List the certificates, by domain."""
    keystone = open_to_read()
    with keystone.database.reading() as session:
        views = certificate_views(session, public_url=keystone.settings.public_url)
    if as_json:
        show_json(Page[CertificateView](items=views))
        return
    rows = [(v.domain, _owner(v), v.not_after, v.problem) for v in views]
    empty = "There are no certificates yet; `keystone certificate set` adds one."
    show_table(("Domain", "App", "Valid until", ""), rows, empty=empty)


def _owner(view: CertificateView) -> str | None:
    return (
        ", ".join(filter(None, ("Keystone itself" if view.is_keystone else "", view.app))) or None
    )


@certificate.command("remove")
def remove(domain: Domain, *, as_json: AsJson = False) -> None:
    """Remove a domain's certificate; the domain is served by HTTP from then on."""
    name = _parsed(domain)
    with open_to_change().database.writing() as session:
        remove_certificate(session, name, actor())
    show_done(f"The certificate of {name} is removed.", Removed(removed=name), as_json=as_json)


def _parsed(domain: str) -> str:
    try:
        return plain_domain(domain)
    except ValueError as exc:
        raise ConfigurationError(Mistake(domain, str(exc))) from None


def _read(what: str, file: Path) -> bytes:
    try:
        return read_small(file, LONGEST_FILE)
    except ValueError as exc:
        raise ConfigurationError(Mistake(what, f"{file} {exc}")) from None
