"""Sets, removes and opens the sealed certificates of domains."""

import logging

from pydantic import SecretStr
from sqlmodel import Session, select

from jobs.errors import ConfigurationError, NotFoundError
from jobs.records.audit import Tag, note
from jobs.rules.actors import Actor
from jobs.rules.certificates import Bundle
from jobs.storage.models import Certificate, now
from jobs.storage.vault import Vault

logger = logging.getLogger(__name__)


def set_certificate(
    session: Session, domain: str, bundle: Bundle, actor: Actor, *, vault: Vault
) -> None:
    """Store a domain's certificate, replacing the previous one."""
    row = _find(session, domain) or Certificate(
        domain=domain, sealed=b"", not_after=bundle.not_after
    )
    row.sealed = vault.seal(bundle.pem)
    row.not_before, row.not_after = bundle.not_before, bundle.not_after
    row.created_at = now()
    session.add(row)
    until = bundle.not_after.isoformat()
    note(session, Tag.CERTIFICATE_SET, actor, f"domain:{domain}", not_after=until)


def remove_certificate(session: Session, domain: str, actor: Actor) -> None:
    """Remove a domain's certificate.

    Raises:
        NotFoundError: the domain has none.
    """
    row = _find(session, domain)
    if row is None:
        raise NotFoundError(
            f"there is no certificate for {domain}; `keystone certificate list` shows them"
        )
    session.delete(row)
    note(session, Tag.CERTIFICATE_REMOVED, actor, f"domain:{domain}")


def open_certificates(session: Session, vault: Vault) -> dict[str, SecretStr]:
    """Open every certificate, as PEM with its key, by domain.

    A certificate that no key of the vault opens is skipped and logged, so that the router can still
    serve the others.
    """
    found: dict[str, SecretStr] = {}
    for row in session.exec(select(Certificate).order_by(Certificate.domain)).all():
        try:
            found[row.domain] = vault.open(row.sealed)
        except ConfigurationError as exc:
            logger.error(  # noqa: TRY400 — the message is enough, without a traceback
                "the certificate of %s cannot be opened: %s",
                row.domain,
                exc,
                extra={"action": "certificate_unreadable"},
            )
    return found


def _find(session: Session, domain: str) -> Certificate | None:
    return session.exec(select(Certificate).where(Certificate.domain == domain)).first()
